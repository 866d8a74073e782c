// Attention of one new token per answer over static slots: the twin of `DecodeRows` in engine/decode.py.
//
// A unit of work is one key/value head of the neighbouring rows that share a slot: their prompt's keys and values
// are read once for all of them, in blocks that stay in the first-level cache; then each row reads its own answer.
// Softmax is online and in fp32. An output depends on its own row alone, never on its neighbours, on the number of
// threads or on the order in which units run.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

struct Step {
  const void *q, *k, *v;                            // [heads, rows, width], last dimension dense
  void *out;                                        // [rows, heads, width], dense
  void *prompt_k, *prompt_v;                        // [slots, kv_heads, prompt_room, width], dense
  void *answer_k, *answer_v;                        // [slots, kv_heads, samples, answer_room, width], dense
  const int64_t *slot, *sample, *written, *prompt_length;
  const float *sinks;                               // [heads], or null
  int64_t slots, rows, heads, kv_heads, width, prompt_room, samples, answer_room;
  int64_t q_head, q_row, k_head, k_row, v_head, v_row;  // strides in elements
  int64_t window, threads;                          // window 0: all is seen
  float scale, softcap;                             // softcap 0: none
};

namespace {

constexpr int64_t kBlock = 32;
constexpr float kNothing = -std::numeric_limits<float>::infinity();

struct bf16 {
  uint16_t bits;
};

inline float widen(float x) { return x; }
inline float widen(bf16 x) {
  const uint32_t bits = uint32_t(x.bits) << 16;
  float y;
  std::memcpy(&y, &bits, 4);
  return y;
}
inline void narrow(float x, float &y) { y = x; }
inline void narrow(float x, bf16 &y) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  y.bits = nan ? 0x7fc0 : uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// exp for x <= 0 within 2 ulp; written out because compilers vectorise it, which they do not do with a call.
inline float exponential(float x) {
  x = x < -87.0f ? -87.0f : x;
  const float shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the fraction is rounded away
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  int32_t power;
  std::memcpy(&power, &shifted, 4);
  const uint32_t bits = (uint32_t(power) + 127u) << 23;
  float scale;
  std::memcpy(&scale, &bits, 4);
  return p * scale;
}

inline float soft_capped(float x, float cap) {
  const float magnitude = x < 0 ? -x : x;
  const float e = exponential(-2.0f * magnitude / cap);
  const float t = cap * (1.0f - e) / (1.0f + e);
  return x < 0 ? -t : t;
}

// fp32 as it lies, bf16 widened into `scratch`.
inline const float *as_float(const float *x, int64_t, float *) { return x; }
inline const float *as_float(const bf16 *x, int64_t n, float *scratch) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) scratch[i] = widen(x[i]);
  return scratch;
}

// What a query has gathered so far.
struct Query {
  int64_t first;  // the first position that it sees
  float top, sum;
};

// WIDTH 0: known at run time only.
template <typename T, int WIDTH>
struct Worker {
  const Step &s;
  const int64_t width, repeat;
  std::vector<float> queries, gathered, keys, values;
  std::vector<Query> state;

  explicit Worker(const Step &step)
      : s(step), width(WIDTH ? WIDTH : step.width), repeat(step.heads / step.kv_heads),
        keys(kBlock * width), values(kBlock * width) {}

  // Let query i see keys[from..n) whose weights go to its running sum.
  void gather(int64_t i, const float *k, const float *v, int64_t from, int64_t n) {
    const float *q = &queries[i * width];
    float *acc = &gathered[i * width];
    Query &query = state[i];
    float score[kBlock];
    float top = query.top;
    for (int64_t t = from; t < n; ++t) {
      float dot = 0;
#pragma omp simd reduction(+ : dot)
      for (int64_t d = 0; d < width; ++d) dot += q[d] * k[t * width + d];
      score[t] = s.softcap > 0 ? soft_capped(dot, s.softcap) : dot;
      top = score[t] > top ? score[t] : top;
    }
    const float kept = exponential(query.top - top);
    float sum = 0;
#pragma omp simd
    for (int64_t t = from; t < n; ++t) score[t] = exponential(score[t] - top);
    for (int64_t t = from; t < n; ++t) sum += score[t];
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) acc[d] *= kept;
    for (int64_t t = from; t < n; ++t) {
      const float weight = score[t];
#pragma omp simd
      for (int64_t d = 0; d < width; ++d) acc[d] += weight * v[t * width + d];
    }
    query.sum = query.sum * kept + sum;
    query.top = top;
  }

  // Let queries [begin, end) see `count` keys, the first of which stands at `position`.
  void segment(int64_t begin, int64_t end, const T *k, const T *v, int64_t count, int64_t position) {
    int64_t first = state[begin].first;
    for (int64_t i = begin; i < end; ++i) first = std::min(first, state[i].first);
    const int64_t skipped = std::max<int64_t>(0, first - position) / kBlock * kBlock;
    for (int64_t t = skipped; t < count; t += kBlock) {
      const int64_t n = std::min(kBlock, count - t);
      const float *block_k = as_float(k + t * width, n * width, keys.data());
      const float *block_v = as_float(v + t * width, n * width, values.data());
      for (int64_t i = begin; i < end; ++i) {
        const int64_t from = std::max<int64_t>(0, state[i].first - position - t);
        if (from < n) gather(i, block_k, block_v, from, n);
      }
    }
  }

  // Rows [begin, end) share a slot.
  void run(int64_t begin, int64_t end, int64_t head) {
    const int64_t slot = s.slot[begin], prompt = s.prompt_length[slot], count = (end - begin) * repeat;
    queries.resize(count * width);
    gathered.assign(count * width, 0.0f);
    state.resize(count);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = begin + i / repeat, h = head * repeat + i % repeat;
      const T *q = static_cast<const T *>(s.q) + h * s.q_head + row * s.q_row;
      for (int64_t d = 0; d < width; ++d) queries[i * width + d] = widen(q[d]) * s.scale;
      const int64_t length = prompt + s.written[row] + 1;
      // A sink is a key whose value is zero.
      state[i] = {s.window ? std::max<int64_t>(0, length - s.window) : 0, s.sinks ? s.sinks[h] : kNothing,
                  s.sinks ? 1.0f : 0.0f};
    }
    const int64_t at = (slot * s.kv_heads + head) * s.prompt_room * width;
    segment(0, count, static_cast<const T *>(s.prompt_k) + at, static_cast<const T *>(s.prompt_v) + at, prompt, 0);
    for (int64_t row = begin; row < end; ++row) {
      const int64_t own = ((slot * s.kv_heads + head) * s.samples + s.sample[row]) * s.answer_room * width;
      T *k = static_cast<T *>(s.answer_k) + own, *v = static_cast<T *>(s.answer_v) + own;
      const int64_t now = s.written[row] * width, i = (row - begin) * repeat;
      std::memcpy(k + now, static_cast<const T *>(s.k) + head * s.k_head + row * s.k_row, width * sizeof(T));
      std::memcpy(v + now, static_cast<const T *>(s.v) + head * s.v_head + row * s.v_row, width * sizeof(T));
      segment(i, i + repeat, k, v, s.written[row] + 1, prompt);
    }
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = begin + i / repeat, h = head * repeat + i % repeat;
      T *out = static_cast<T *>(s.out) + (row * s.heads + h) * width;
      const float share = 1.0f / state[i].sum;
      for (int64_t d = 0; d < width; ++d) narrow(gathered[i * width + d] * share, out[d]);
    }
  }
};

template <typename T, int WIDTH>
void attend(const Step &s) {
  std::vector<int64_t> starts;
  for (int64_t row = 0; row < s.rows; ++row)
    if (row == 0 || s.slot[row] != s.slot[row - 1]) starts.push_back(row);
  const int64_t runs = starts.size(), units = runs * s.kv_heads;
  starts.push_back(s.rows);
#pragma omp parallel num_threads(s.threads) if (s.threads > 1)
  {
    Worker<T, WIDTH> worker(s);
#pragma omp for schedule(dynamic)
    for (int64_t unit = 0; unit < units; ++unit) {
      const int64_t run = unit / s.kv_heads;
      worker.run(starts[run], starts[run + 1], unit % s.kv_heads);
    }
  }
}

template <typename T>
void attend_any_width(const Step &s) {
  switch (s.width) {
    case 32: return attend<T, 32>(s);
    case 48: return attend<T, 48>(s);
    case 64: return attend<T, 64>(s);
    case 96: return attend<T, 96>(s);
    case 128: return attend<T, 128>(s);
    default: return attend<T, 0>(s);
  }
}

// Whether every row lies within the slots.
bool fits(const Step &s) {
  for (int64_t row = 0; row < s.rows; ++row) {
    const int64_t slot = s.slot[row], sample = s.sample[row], written = s.written[row];
    if (slot < 0 || slot >= s.slots || sample < 0 || sample >= s.samples) return false;
    if (written < 0 || written >= s.answer_room) return false;
    if (s.prompt_length[slot] < 0 || s.prompt_length[slot] > s.prompt_room) return false;
  }
  return true;
}

template <typename T>
int checked(const Step &s) {
  if (!fits(s)) return 1;
  attend_any_width<T>(s);
  return 0;
}

}  // namespace

// 0, or 1 if a row lies outside the slots; then nothing is read or written.
extern "C" int heedful_decode_float32(const Step *step) { return checked<float>(*step); }
extern "C" int heedful_decode_bfloat16(const Step *step) { return checked<bf16>(*step); }
