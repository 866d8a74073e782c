// A decoding step of layers of a Llama-like model in bf16, and products with weights that are laid out for it once: the
// twin of the model's own layers (engine/kernels/block.py). step.cpp is its counterpart in fp32.
//
// A row is computed in one order whatever else is computed: its bits do not depend on its neighbours or on the number
// of threads. Products go through matrix tiles (AMX) where there are any, else through vectors in fp32.

#if defined(__clang__)
#pragma STDC FP_CONTRACT ON
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=fast")
#endif

#include <algorithm>
#include <cmath>
#include <vector>

#include "attend.h"
#include "tiles.h"

extern "C" int heedful_decode_bfloat16(const Step *step);

struct Matrix {
  const void *packed;  // by `heedful_pack`
  const float *bias;   // [out], or null
  int64_t in, out;
};

struct Block {
  Matrix qkv, attended, gate_up, down;
  const void *norm_before, *norm_between;  // [hidden]
  int64_t hidden, heads, kv_heads, width, mlp;
  float eps_before, eps_between;
};

// What a layer reads and writes of the cache, and how it attends: as in Step.
struct Place {
  void *prompt_k, *prompt_v, *answer_k, *answer_v;
  const float *sinks;
  int64_t window;
  float scale, softcap;
};

namespace {

constexpr int64_t kPanel = kLanes;  // columns that lie together
constexpr int64_t kDeep = 32;       // `in` is filled up with zeros to a multiple
constexpr int64_t kLittle = 1 << 13;  // numbers for which a second thread does not pay

inline int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// weight [out, in] -> [panels][in / 2][16][2].
void pack(const bf16 *weight, int64_t in, int64_t out, bf16 *packed, int64_t threads) {
  const int64_t deep = up(in, kDeep), panels = up(out, kPanel) / kPanel;
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t panel = 0; panel < panels; ++panel) {
    std::memset(static_cast<void *>(packed + panel * deep * kPanel), 0, deep * kPanel * sizeof(bf16));
    for (int64_t column = panel * kPanel; column < std::min(out, (panel + 1) * kPanel); ++column)
      for (int64_t k = 0; k < in; ++k) packed[(panel * deep + k / 2 * 2) * kPanel + column % kPanel * 2 + k % 2] = weight[column * in + k];
  }
}

// R rows times P panels, in registers.
template <int R, int P>
void vectors(const float *x, int64_t deep, const bf16 *packed, float *out, int64_t apart) {
  Lanes sums[R][P] = {};
  for (int64_t k = 0; k < deep; k += 2)
    for (int p = 0; p < P; ++p) {
      Bits both;
      std::memcpy(&both, packed + (p * deep + k) * kPanel, sizeof both);
      const Bits low = both << 16, high = both & 0xffff0000u;
      Lanes first, second;
      std::memcpy(&first, &low, sizeof first);
      std::memcpy(&second, &high, sizeof second);
      for (int r = 0; r < R; ++r) sums[r][p] += first * x[r * deep + k];
      for (int r = 0; r < R; ++r) sums[r][p] += second * x[r * deep + k + 1];
    }
  for (int r = 0; r < R; ++r)
    for (int p = 0; p < P; ++p) store(out + r * apart + p * kPanel, sums[r][p]);
}

template <int P>
void panels_of(const float *x, int64_t rows, int64_t deep, const bf16 *packed, float *out, int64_t apart) {
  int64_t row = 0;
  for (; row + 6 <= rows; row += 6) vectors<6, P>(x + row * deep, deep, packed, out + row * apart, apart);
  for (; row + 2 <= rows; row += 2) vectors<2, P>(x + row * deep, deep, packed, out + row * apart, apart);
  for (; row < rows; ++row) vectors<1, P>(x + row * deep, deep, packed, out + row * apart, apart);
}

// out [rows, apart] = x [rows, deep] times panels [from, to); x in fp32.
void product(const float *x, int64_t rows, int64_t deep, const bf16 *packed, float *out, int64_t apart, int64_t from,
             int64_t to) {
  int64_t p = from;
  for (; p + 2 <= to; p += 2) panels_of<2>(x, rows, deep, packed + p * deep * kPanel, out + p * kPanel, apart);
  if (p < to) panels_of<1>(x, rows, deep, packed + p * deep * kPanel, out + p * kPanel, apart);
}

#ifdef HEEDFUL_TILES

template <bool TALL, bool WIDE>
void tiles(const bf16 *x, int64_t deep, const bf16 *packed, float *out, int64_t apart) {
  _tile_zero(0);
  if (WIDE) _tile_zero(1);
  if (TALL) _tile_zero(2);
  if (TALL && WIDE) _tile_zero(3);
  for (int64_t k = 0; k < deep; k += kDeep) {
    _tile_loadd(4, x + k, deep * 2);
    if (TALL) _tile_loadd(5, x + 16 * deep + k, deep * 2);
    _tile_loadd(6, packed + k * kPanel, 64);
    if (WIDE) _tile_loadd(7, packed + (deep + k) * kPanel, 64);
    _tile_dpbf16ps(0, 4, 6);
    if (WIDE) _tile_dpbf16ps(1, 4, 7);
    if (TALL) _tile_dpbf16ps(2, 5, 6);
    if (TALL && WIDE) _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, out, apart * 4);
  if (WIDE) _tile_stored(1, out + kPanel, apart * 4);
  if (TALL) _tile_stored(2, out + 16 * apart, apart * 4);
  if (TALL && WIDE) _tile_stored(3, out + 16 * apart + kPanel, apart * 4);
}

template <bool WIDE>
void columns_of(const bf16 *x, int64_t rows, int64_t deep, const bf16 *packed, float *out, int64_t apart) {
  int64_t row = 0;
  for (; row + 16 < rows; row += 32) tiles<true, WIDE>(x + row * deep, deep, packed, out + row * apart, apart);
  if (row < rows) tiles<false, WIDE>(x + row * deep, deep, packed, out + row * apart, apart);
}

// The same by tiles: x in bf16, and room for a multiple of 32 rows in x and out.
void product(const bf16 *x, int64_t rows, int64_t deep, const bf16 *packed, float *out, int64_t apart, int64_t from,
             int64_t to) {
  const Tiles configured;
  int64_t p = from;
  for (; p + 2 <= to; p += 2) columns_of<true>(x, rows, deep, packed + p * deep * kPanel, out + p * kPanel, apart);
  if (p < to) columns_of<false>(x, rows, deep, packed + p * deep * kPanel, out + p * kPanel, apart);
}

#endif

// Rows that a product reads, filled up with zeros: in bf16 for tiles, in fp32 for vectors.
template <typename S>
struct Staged {
  std::vector<S> values;
  int64_t rows = 0, deep = 0;

  void start(int64_t n, int64_t in) {
    rows = n, deep = up(in, kDeep);
    values.resize(up(n, 32) * deep);
    if (deep != in)
      for (int64_t r = 0; r < n; ++r) std::fill(row(r) + in, row(r) + deep, S());
  }
  S *row(int64_t r) { return values.data() + r * deep; }
};

inline float rounded(float x) {
  bf16 y;
  narrow(x, y);
  return widen(y);
}
inline void put(float x, float &y) { y = rounded(x); }
inline void put(float x, bf16 &y) { narrow(x, y); }

struct Found {
  std::vector<float> values;
  int64_t apart = 0;
  float *row(int64_t r) { return values.data() + r * apart; }
};

template <typename S>
void times(Staged<S> &x, const Matrix &m, Found &found, int64_t threads) {
  const int64_t panels = up(m.out, kPanel) / kPanel, parts = std::min(threads, panels);
  found.apart = panels * kPanel;
  found.values.resize(up(x.rows, 32) * found.apart);
#pragma omp parallel for num_threads(threads) if (parts > 1)
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t from = panels * part / parts, to = panels * (part + 1) / parts;
    product(x.values.data(), x.rows, x.deep, static_cast<const bf16 *>(m.packed), found.values.data(), found.apart, from,
            to);
    if (m.bias)
      for (int64_t row = 0; row < x.rows; ++row)
        for (int64_t i = from * kPanel; i < std::min(m.out, to * kPanel); ++i) found.row(row)[i] += m.bias[i];
  }
}

template <typename S>
void normed(const bf16 *x, const bf16 *weight, float eps, int64_t width, S *y) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < width; ++i) sum += widen(x[i]) * widen(x[i]);
  const float r = 1.0f / std::sqrt(sum / float(width) + eps);
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) put(widen(weight[i]) * rounded(widen(x[i]) * r), y[i]);
}

void turned(const float *x, const bf16 *cos, const bf16 *sin, int64_t width, bf16 *y) {
  const int64_t half = width / 2;
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    narrow(x[i] * widen(cos[i]) - x[half + i] * widen(sin[i]), y[i]);
    narrow(x[half + i] * widen(cos[half + i]) + x[i] * widen(sin[half + i]), y[half + i]);
  }
}

void added(const bf16 *x, const float *y, int64_t width, bf16 *to) {
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) narrow(widen(x[i]) + rounded(y[i]), to[i]);
}

#define PRAGMA(TEXT) _Pragma(#TEXT)
#define EACH_ROW(WIDTH) PRAGMA(omp parallel for num_threads(threads) if (threads > 1 && rows * (WIDTH) > kLittle))

// x [rows, hidden] -> y, which may be x; the attention's q, k and v lie in `made` [rows, (heads + 2 kv_heads) width].
template <typename S>
int block(const Block &b, const bf16 *x, const bf16 *cos, const bf16 *sin, bf16 *y, bf16 *made, const Step &step) {
  const int64_t rows = step.rows, threads = step.threads;
  const bf16 *gathered = static_cast<const bf16 *>(step.out);
  static thread_local Staged<S> kept;
  static thread_local Found kept_too;
  Staged<S> &staged = kept;  // this thread's, for all that help it
  Found &found = kept_too;
  const int64_t turning = b.heads + b.kv_heads, all = turning + b.kv_heads, held = b.heads * b.width;
  staged.start(rows, b.hidden);
  EACH_ROW(b.hidden)
  for (int64_t r = 0; r < rows; ++r)
    normed(x + r * b.hidden, static_cast<const bf16 *>(b.norm_before), b.eps_before, b.hidden, staged.row(r));
  times(staged, b.qkv, found, threads);
  EACH_ROW(all * b.width)
  for (int64_t r = 0; r < rows; ++r) {
    bf16 *to = made + r * all * b.width;
    for (int64_t h = 0; h < turning; ++h)
      turned(found.row(r) + h * b.width, cos + r * b.width, sin + r * b.width, b.width, to + h * b.width);
    for (int64_t i = turning * b.width; i < all * b.width; ++i) narrow(found.row(r)[i], to[i]);
  }
  if (heedful_decode_bfloat16(&step)) return 1;
  staged.start(rows, held);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < held; ++i) put(widen(gathered[r * held + i]), staged.row(r)[i]);
  times(staged, b.attended, found, threads);
  staged.start(rows, b.hidden);
  EACH_ROW(2 * b.hidden)
  for (int64_t r = 0; r < rows; ++r) {
    added(x + r * b.hidden, found.row(r), b.hidden, y + r * b.hidden);
    normed(y + r * b.hidden, static_cast<const bf16 *>(b.norm_between), b.eps_between, b.hidden, staged.row(r));
  }
  times(staged, b.gate_up, found, threads);
  staged.start(rows, b.mlp);
  EACH_ROW(2 * b.mlp)
  for (int64_t r = 0; r < rows; ++r) {
    const float *gate = found.row(r), *beside = gate + b.mlp;
    S *to = staged.row(r);
#pragma omp simd
    for (int64_t i = 0; i < b.mlp; ++i) {
      const float e = exponential(gate[i] < 0 ? gate[i] : -gate[i]);
      put(gate[i] * ((gate[i] < 0 ? e : 1.0f) / (1.0f + e)) * beside[i], to[i]);
    }
  }
  times(staged, b.down, found, threads);
  for (int64_t r = 0; r < rows; ++r) added(y + r * b.hidden, found.row(r), b.hidden, y + r * b.hidden);
  return 0;
}

template <typename S>
void linear(const Matrix &m, const bf16 *x, bf16 *y, int64_t rows, int64_t threads) {
  static thread_local Staged<S> kept;
  static thread_local Found kept_too;
  Staged<S> &staged = kept;  // this thread's, for all that help it
  Found &found = kept_too;
  staged.start(rows, m.in);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < m.in; ++i) put(widen(x[r * m.in + i]), staged.row(r)[i]);
  times(staged, m, found, threads);
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < m.out; ++i) narrow(found.row(r)[i], y[r * m.out + i]);
}

}  // namespace

#ifdef HEEDFUL_TILES
#define CHOSEN(FUNCTION) (have_tiles() ? FUNCTION<bf16> : FUNCTION<float>)
#else
#define CHOSEN(FUNCTION) FUNCTION<float>
#endif

extern "C" void heedful_pack(const bf16 *weight, int64_t in, int64_t out, bf16 *packed, int64_t threads) {
  pack(weight, in, out, packed, threads);
}

extern "C" void heedful_linear(const Matrix *m, const bf16 *x, bf16 *y, int64_t rows, int64_t threads) {
  CHOSEN(linear)(*m, x, y, rows, threads);
}

// Layers one after another, on x [rows, hidden]. 0, or 1 if a row lies outside the slots; then nothing is stored.
extern "C" int heedful_blocks(const Block *blocks, const Place *places, int64_t count, const bf16 *x, const bf16 *cos,
                              const bf16 *sin, bf16 *y, bf16 *made, const Step *step) {
  Step here = *step;
  for (int64_t at = 0; at < count; ++at) {
    const Place &p = places[at];
    here.prompt_k = p.prompt_k, here.prompt_v = p.prompt_v, here.answer_k = p.answer_k, here.answer_v = p.answer_v;
    here.sinks = p.sinks, here.window = p.window, here.scale = p.scale, here.softcap = p.softcap;
    if (CHOSEN(block)(blocks[at], at ? y : x, cos, sin, y, made, here)) return 1;
  }
  return 0;
}
