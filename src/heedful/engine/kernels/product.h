// Products of a matrix as `nn.Linear` stores it with the states of many rows, which lie feature by feature.
//
// Rows stand side by side in the lanes, in panels of `kPanel`; weights are read where they are, once a panel. Each
// number is summed in one order, whatever other rows there are and however work is shared out.

#pragma once

#include <algorithm>
#include <cstdint>

#include "numbers.h"

namespace {

// What fits into the registers that there are: vectors of rows, and outputs computed with them.
#if defined(__AVX512F__)
constexpr int64_t kVectors = 4, kOutputs = 6;
#elif defined(__AVX__)
constexpr int64_t kVectors = 1, kOutputs = 4;
#else
constexpr int64_t kVectors = 1, kOutputs = 6;
#endif
constexpr int64_t kPanel = kVectors * kLanes;  // rows
constexpr int64_t kGroup = 24;                 // outputs of a unit of work
constexpr int64_t kDepth = 128;                // features whose states stay in the first-level cache

typedef float Group[kGroup * kPanel];  // [outputs, rows of a panel]

template <int V, int N>
inline void tile(const float *w, int64_t stride, const float *x, int64_t depth, float *y, bool more) {
  Lanes sums[N][V] = {};
  for (int64_t k = 0; k < depth; ++k) {
    if (k % kLanes == 0)
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) __builtin_prefetch(w + (N + n) * stride + k);  // the weights of the next outputs
    Lanes states[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) states[v] = load(x + k * kPanel + v * kLanes);
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      const float weight = w[n * stride + k];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sums[n][v] += states[v] * weight;
    }
  }
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      float *to = y + n * kPanel + v * kLanes;
      store(to, more ? load(to) + sums[n][v] : sums[n][v]);
    }
}

template <int V>
void product_of(const float *w, int64_t depth, const float *x, int64_t outputs, float *y) {
  const int64_t parts = (depth + kDepth - 1) / kDepth, even = (depth + parts - 1) / parts;
  for (int64_t k = 0; k < depth; k += even) {
    const int64_t part = std::min(even, depth - k);
    int64_t n = 0;
    for (; n + kOutputs <= outputs; n += kOutputs)
      tile<V, kOutputs>(w + n * depth + k, depth, x + k * kPanel, part, y + n * kPanel, k > 0);
    for (; n < outputs; ++n) tile<V, 1>(w + n * depth + k, depth, x + k * kPanel, part, y + n * kPanel, k > 0);
  }
}

// y [outputs, kPanel] = w [outputs, depth] x [depth, kPanel], for the first `vectors` vectors of rows.
inline void product(const float *w, int64_t depth, const float *x, int64_t outputs, int64_t vectors, float *y) {
  switch (vectors) {
    case 1: return product_of<1>(w, depth, x, outputs, y);
#if defined(__AVX512F__)
    case 2: return product_of<2>(w, depth, x, outputs, y);
    case 3: return product_of<3>(w, depth, x, outputs, y);
    default: return product_of<4>(w, depth, x, outputs, y);
#endif
  }
}

}  // namespace
