// Products of matrices in bf16 by tiles, for training: the twin of engine/kernels/product.py.
//
// Any size is computed at once: nothing is prepared for it or kept for the next. A number is summed in one order, which
// depends on the depth alone: its bits do not depend on other lines or on the number of threads.

#include <vector>

#include "tiles.h"

#ifdef HEEDFUL_TILES

namespace {

constexpr int64_t kLine = 2 * kLines;      // lines of a panel
constexpr int64_t kNear = 512;             // depth of a left panel that stays in the first-level cache
constexpr int64_t kWideDeep = 1024;        // depth after which sums in fp32 go to memory
constexpr int64_t kBlock = 704 << 10;      // numbers of the right side that stay in the second-level cache

struct Room {
  std::vector<uint8_t> bytes;
  template <typename T>
  T *numbers(int64_t n) {
    if (int64_t(bytes.size()) < n * int64_t(sizeof(T)) + 64) bytes.resize(n * sizeof(T) + 64);
    return reinterpret_cast<T *>((reinterpret_cast<uintptr_t>(bytes.data()) + 63) / 64 * 64);
  }
};

inline int64_t cut(int64_t n, int64_t most, int64_t unit) {  // the size of even parts of at most `most`
  const int64_t parts = std::max<int64_t>(1, (n + most - 1) / most);
  return ((n + parts - 1) / parts + unit - 1) / unit * unit;
}

inline void finish(const float *sums, bf16 *out, int64_t apart, int64_t rows, int64_t columns, bool) {
  const __mmask32 mask = columns >= kLine ? ~__mmask32(0) : (__mmask32(1) << columns) - 1;
  for (int64_t row = 0; row < rows; ++row, sums += kLine, out += apart)
    _mm512_mask_storeu_epi16(out, mask, narrowed(_mm512_load_ps(sums), _mm512_load_ps(sums + 16)));
}

inline void finish(const float *sums, float *out, int64_t apart, int64_t rows, int64_t columns, bool more) {
  for (int64_t row = 0; row < rows; ++row, sums += kLine, out += apart)
    for (int64_t i = 0; i < 2; ++i) {
      const int64_t left = columns - 16 * i;
      if (left <= 0) break;
      const __mmask16 mask = left >= 16 ? __mmask16(0xffff) : __mmask16((1u << left) - 1);
      __m512 found = _mm512_load_ps(sums + 16 * i);
      if (more) found = _mm512_add_ps(found, _mm512_maskz_loadu_ps(mask, out + 16 * i));
      _mm512_mask_storeu_ps(out + 16 * i, mask, found);
    }
}

// out [m, n], rows `apart` apart, = left [m, k] right [n, k]^T, or for `add` that much more.
template <typename T>
void multiply(const Side &left, const Side &right, T *out, int64_t apart, int64_t m, int64_t n, int64_t k, bool add,
              int64_t threads) {
  static thread_local Room kept;
  const bool wide = sizeof(T) == 4;
  const int64_t deep = wide ? cut(k, kWideDeep, kTileDeep) : (k + kTileDeep - 1) / kTileDeep * kTileDeep;
  const int64_t block = cut(n, std::max(kLine, kBlock / deep / kLine * kLine), kLine), near = cut(deep, kNear, kTileDeep);
  bf16 *packed = kept.numbers<bf16>(deep * block);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    static thread_local Room near_room, sums_room;
    bf16 *lines = near_room.numbers<bf16>(kLine * near);
    float *sums = sums_room.numbers<float>(kLine * block);
    const Tiles configured;
    for (int64_t column = 0; column < n; column += block)
      for (int64_t from = 0; from < k; from += deep) {
        const int64_t columns = std::min(block, n - column), depth = std::min(deep, k - from);
        const int64_t steps = (depth + kTileDeep - 1) / kTileDeep;
#pragma omp for schedule(static)
        for (int64_t c = 0; c < columns; c += kLine) {
          const Side at = {right.at + (column + c) * right.line + from * right.deep, right.line, right.deep};
          fill_panel<true>(at, columns - c, depth, packed + c / kLine * steps * kPair);
        }
#pragma omp for schedule(dynamic)
        for (int64_t row = 0; row < m; row += kLine)
          for (int64_t step = 0; step < steps; step += near / kTileDeep) {
            const int64_t begin = from + step * kTileDeep, some = std::min(near / kTileDeep, steps - step);
            const Side at = {left.at + row * left.line + begin * left.deep, left.line, left.deep};
            fill_panel<false>(at, m - row, std::min(some * kTileDeep, from + depth - begin), lines);
            for (int64_t c = 0; c < columns; c += kLine) {
              float *block_sums = sums + c * kLine;
              multiply_panels(lines, packed + (c / kLine * steps + step) * kPair, some, block_sums, kLine, step > 0);
              if (step + some == steps)
                finish(block_sums, out + row * apart + column + c, apart, std::min(kLine, m - row), columns - c,
                       add || from > 0);
            }
          }
      }
  }
}

}  // namespace

extern "C" int heedful_tiles() { return have_tiles(); }

extern "C" void heedful_product_bfloat16(const bf16 *left, int64_t left_line, int64_t left_deep, const bf16 *right,
                                         int64_t right_line, int64_t right_deep, bf16 *out, int64_t apart, int64_t m,
                                         int64_t n, int64_t k, int64_t, int64_t threads) {
  multiply(Side{left, left_line, left_deep}, Side{right, right_line, right_deep}, out, apart, m, n, k, false, threads);
}

extern "C" void heedful_product_float32(const bf16 *left, int64_t left_line, int64_t left_deep, const bf16 *right,
                                        int64_t right_line, int64_t right_deep, float *out, int64_t apart, int64_t m,
                                        int64_t n, int64_t k, int64_t add, int64_t threads) {
  multiply(Side{left, left_line, left_deep}, Side{right, right_line, right_deep}, out, apart, m, n, k, add, threads);
}

#else

extern "C" int heedful_tiles() { return 0; }

#endif
