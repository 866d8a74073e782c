// Attention of one new token per answer over static slots: the twin of `DecodeRows` in engine/decode.py.
//
// A unit of work is one key/value head of the neighbouring rows that share a slot: their prompt's keys and values
// are read once for all of them, in blocks that stay in the first-level cache; then each row reads its own answer.
// Softmax is online and in fp32. An output depends on its own row alone, never on its neighbours, on the number of
// threads or on the order in which units run.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "numbers.h"

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

inline float soft_capped(float x, float cap) {
  const float magnitude = x < 0 ? -x : x;
  const float e = exponential(-2.0f * magnitude / cap);
  const float t = cap * (1.0f - e) / (1.0f + e);
  return x < 0 ? -t : t;
}

// What a query has gathered so far.
struct Query {
  int64_t first;  // the first position that it sees
  float top, sum;
};

// VECTORS: the width in whole vectors; 0: known at run time only.
template <typename T, int VECTORS>
struct Worker {
  const Step &s;
  const int64_t width, repeat, vectors, padded;
  std::vector<float> queries, gathered, keys, values;  // rows of `padded` floats, zeros at their ends
  std::vector<Query> state;

  explicit Worker(const Step &step)
      : s(step), width(step.width), repeat(step.heads / step.kv_heads),
        vectors(VECTORS ? VECTORS : (step.width + kLanes - 1) / kLanes), padded(vectors * kLanes),
        keys(kBlock * padded), values(kBlock * padded) {}

  int64_t count_vectors() const { return VECTORS ? VECTORS : vectors; }

  // Let query i see keys [from, n) of a block.
  template <typename E>
  void gather(int64_t i, const E *k, const E *v, int64_t from, int64_t n) {
    const float *q = &queries[i * padded];
    Query &query = state[i];
    float score[kBlock];
    std::fill(score, score + kBlock, kNothing);
    float top = query.top;
    for (int64_t t = from; t < n; ++t) {
      Lanes dot = {};
      for (int64_t d = 0; d < count_vectors(); ++d) dot += load(q + d * kLanes) * load(k + t * padded + d * kLanes);
      const float x = total(dot);
      score[t] = s.softcap > 0 ? soft_capped(x, s.softcap) : x;
      top = score[t] > top ? score[t] : top;
    }
    const float kept = exponential(query.top - top);
    query.top = top;
    query.sum *= kept;
#pragma omp simd
    for (int64_t t = 0; t < kBlock; ++t) score[t] = exponential(score[t] - top);
    for (int64_t t = from; t < n; ++t) query.sum += score[t];
    float *acc = &gathered[i * padded];
    if (VECTORS) {
      Lanes sums[VECTORS ? VECTORS : 1];  // in registers
      for (int64_t d = 0; d < VECTORS; ++d) sums[d] = load(acc + d * kLanes) * kept;
      for (int64_t t = from; t < n; ++t)
        for (int64_t d = 0; d < VECTORS; ++d) sums[d] += load(v + t * padded + d * kLanes) * score[t];
      for (int64_t d = 0; d < VECTORS; ++d) store(acc + d * kLanes, sums[d]);
    } else {
      for (int64_t d = 0; d < vectors; ++d) {
        Lanes sum = load(acc + d * kLanes) * kept;
        for (int64_t t = from; t < n; ++t) sum += load(v + t * padded + d * kLanes) * score[t];
        store(acc + d * kLanes, sum);
      }
    }
  }

  // Ask for a block of keys and values before it is worked on.
  void ahead(const T *k, const T *v, int64_t n) const {
    for (const T *x : {k, v})
      for (int64_t i = 0; i < n * width; i += int64_t(64 / sizeof(T))) __builtin_prefetch(x + i, 0, 2);
  }

  void copy_widened(const T *x, int64_t n, float *block) const {
    for (int64_t t = 0; t < n; ++t)
      for (int64_t d = 0; d < width; ++d) block[t * padded + d] = widen(x[t * width + d]);
  }

  // Let queries [begin, end) see `count` keys, the first of which stands at `position`.
  void segment(int64_t begin, int64_t end, const T *k, const T *v, int64_t count, int64_t position) {
    int64_t first = state[begin].first;
    for (int64_t i = begin; i < end; ++i) first = std::min(first, state[i].first);
    const bool as_it_lies = width == padded && (std::is_same<T, float>::value || end - begin == 1);
    for (int64_t t = std::max<int64_t>(0, first - position) / kBlock * kBlock; t < count; t += kBlock) {
      const int64_t n = std::min(kBlock, count - t);
      const T *block_k = k + t * width, *block_v = v + t * width;
      if (t + kBlock < count) ahead(block_k + kBlock * width, block_v + kBlock * width, kBlock);
      if (!as_it_lies) {
        copy_widened(block_k, n, keys.data());
        copy_widened(block_v, n, values.data());
      }
      for (int64_t i = begin; i < end; ++i) {
        const int64_t from = std::max<int64_t>(0, state[i].first - position - t);
        if (from >= n) continue;
        if (as_it_lies)
          gather(i, block_k, block_v, from, n);
        else
          gather(i, keys.data(), values.data(), from, n);
      }
    }
  }

  // Rows [begin, end) share a slot.
  void run(int64_t begin, int64_t end, int64_t head) {
    const int64_t slot = s.slot[begin], prompt = s.prompt_length[slot], count = (end - begin) * repeat;
    const auto own = [&](int64_t row) {
      return ((slot * s.kv_heads + head) * s.samples + s.sample[row]) * s.answer_room * width;
    };
    const auto first_of = [&](int64_t row) {
      const T *k = static_cast<const T *>(s.answer_k), *v = static_cast<const T *>(s.answer_v);
      ahead(k + own(row), v + own(row), std::min(kBlock, s.written[row]));
    };
    const int64_t at = (slot * s.kv_heads + head) * s.prompt_room * width;
    const T *prompt_k = static_cast<const T *>(s.prompt_k) + at, *prompt_v = static_cast<const T *>(s.prompt_v) + at;
    ahead(prompt_k, prompt_v, std::min(kBlock, prompt));
    queries.assign(count * padded, 0.0f);
    gathered.assign(count * padded, 0.0f);
    state.resize(count);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = begin + i / repeat, h = head * repeat + i % repeat;
      const T *q = static_cast<const T *>(s.q) + h * s.q_head + row * s.q_row;
      for (int64_t d = 0; d < width; ++d) queries[i * padded + d] = widen(q[d]) * s.scale;
      const int64_t length = prompt + s.written[row] + 1;
      // A sink is a key whose value is zero.
      state[i] = {s.window ? std::max<int64_t>(0, length - s.window) : 0, s.sinks ? s.sinks[h] : kNothing,
                  s.sinks ? 1.0f : 0.0f};
    }
    first_of(begin);
    segment(0, count, prompt_k, prompt_v, prompt, 0);
    for (int64_t row = begin; row < end; ++row) {
      if (row + 1 < end) first_of(row + 1);
      T *k = static_cast<T *>(s.answer_k) + own(row), *v = static_cast<T *>(s.answer_v) + own(row);
      const int64_t now = s.written[row] * width, i = (row - begin) * repeat;
      std::memcpy(k + now, static_cast<const T *>(s.k) + head * s.k_head + row * s.k_row, width * sizeof(T));
      std::memcpy(v + now, static_cast<const T *>(s.v) + head * s.v_head + row * s.v_row, width * sizeof(T));
      segment(i, i + repeat, k, v, s.written[row] + 1, prompt);
    }
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = begin + i / repeat, h = head * repeat + i % repeat;
      T *out = static_cast<T *>(s.out) + (row * s.heads + h) * width;
      const float share = 1.0f / state[i].sum;
      for (int64_t d = 0; d < width; ++d) narrow(gathered[i * padded + d] * share, out[d]);
    }
  }
};

// Where each run of neighbouring rows that share a slot begins, and the number of rows at the end.
inline std::vector<int64_t> runs_of(const int64_t *slot, int64_t rows) {
  std::vector<int64_t> starts;
  for (int64_t row = 0; row < rows; ++row)
    if (row == 0 || slot[row] != slot[row - 1]) starts.push_back(row);
  starts.push_back(rows);
  return starts;
}

// Whether every row lies within the slots.
inline bool fits(const Step &s) {
  for (int64_t row = 0; row < s.rows; ++row) {
    const int64_t slot = s.slot[row], sample = s.sample[row], written = s.written[row];
    if (slot < 0 || slot >= s.slots || sample < 0 || sample >= s.samples) return false;
    if (written < 0 || written >= s.answer_room) return false;
    if (s.prompt_length[slot] < 0 || s.prompt_length[slot] > s.prompt_room) return false;
  }
  return true;
}

}  // namespace
