// Parts of a layer that read and write memory and compute little, in one pass each: the twins of engine/kernels/fused.py.
//
// A row is computed by one thread in one order, whatever else is computed: its bits do not depend on its neighbours or
// on the number of threads. Sums over rows are made of blocks of rows, which do not depend on the threads either.

#include <cmath>
#include <limits>

#include "numbers.h"

namespace {

constexpr int64_t kLittle = 1 << 15;  // elements for which a second thread does not pay

template <typename T>
inline float rounded(float x) {
  T y;
  narrow(x, y);
  return widen(y);
}

inline float sigmoid(float x) {
  const float e = exponential(x < 0 ? x : -x);
  return (x < 0 ? e : 1.0f) / (1.0f + e);
}

// y = w T(x r) with r = 1 / sqrt(mean x^2 + eps), or with shift 1 (Gemma) y = (1 + w) x r.
template <typename T>
void norm_forward(const T *x, const T *w, T *y, float *inverse, int64_t rows, int64_t width, float eps, int64_t shift,
                  int64_t threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows * width > kLittle)
  for (int64_t row = 0; row < rows; ++row) {
    const T *from = x + row * width;
    T *to = y + row * width;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; ++i) sum += widen(from[i]) * widen(from[i]);
    const float r = 1.0f / std::sqrt(sum / float(width) + eps);
    inverse[row] = r;
    if (shift) {
#pragma omp simd
      for (int64_t i = 0; i < width; ++i) narrow((1.0f + widen(w[i])) * (widen(from[i]) * r), to[i]);
    } else {
#pragma omp simd
      for (int64_t i = 0; i < width; ++i) narrow(widen(w[i]) * rounded<T>(widen(from[i]) * r), to[i]);
    }
  }
}

// dx, and dw for each block of rows: [ceil(rows / block), width].
template <typename T>
void norm_backward(const T *dy, const T *x, const T *w, const float *inverse, T *dx, float *dw, int64_t rows,
                   int64_t width, int64_t shift, int64_t block, int64_t threads) {
  const int64_t blocks = (rows + block - 1) / block;
  const float one = shift ? 1.0f : 0.0f;
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows * width > kLittle)
  for (int64_t b = 0; b < blocks; ++b) {
    float *sums = dw + b * width;
    std::memset(sums, 0, width * sizeof(float));
    const int64_t end = (b + 1) * block < rows ? (b + 1) * block : rows;
    for (int64_t row = b * block; row < end; ++row) {
      const T *from = x + row * width, *along = dy + row * width;
      T *to = dx + row * width;
      const float r = inverse[row];
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < width; ++i) {
        const float g = widen(along[i]), a = widen(from[i]);
        sum += g * (one + widen(w[i])) * a;
        sums[i] += g * a * r;
      }
      const float back = sum / float(width) * r * r * r;
#pragma omp simd
      for (int64_t i = 0; i < width; ++i)
        narrow(widen(along[i]) * (one + widen(w[i])) * r - widen(from[i]) * back, to[i]);
    }
  }
}

// y = T(silu(gate)) up; rows of gate and up may lie apart.
template <typename T>
void swiglu_forward(const T *gate, const T *up, T *y, int64_t rows, int64_t width, int64_t gate_row, int64_t up_row,
                    int64_t threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows * width > kLittle)
  for (int64_t row = 0; row < rows; ++row) {
    const T *g = gate + row * gate_row, *u = up + row * up_row;
    T *to = y + row * width;
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) {
      const float a = widen(g[i]);
      narrow(rounded<T>(a * sigmoid(a)) * widen(u[i]), to[i]);
    }
  }
}

template <typename T>
void swiglu_backward(const T *dy, const T *gate, const T *up, T *dgate, T *dup, int64_t rows, int64_t width,
                     int64_t gate_row, int64_t up_row, int64_t threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows * width > kLittle)
  for (int64_t row = 0; row < rows; ++row) {
    const T *g = gate + row * gate_row, *u = up + row * up_row, *along = dy + row * width;
    T *to_gate = dgate + row * width, *to_up = dup + row * width;
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) {
      const float a = widen(g[i]), d = widen(along[i]), s = sigmoid(a);
      narrow(d * (a * s), to_up[i]);
      narrow(d * widen(u[i]) * (s * (1.0f + a * (1.0f - s))), to_gate[i]);
    }
  }
}

// out = x cos + rotate_half(x) sin, or with `back` the transpose of that map; x [heads, rows, width] with strides,
// out [rows, heads, width] dense, cos and sin [rows, width] dense.
template <typename T>
void rotary(const T *x, const T *cos, const T *sin, T *out, int64_t rows, int64_t heads, int64_t width,
            int64_t head_stride, int64_t row_stride, int64_t back, int64_t threads) {
  const int64_t half = width / 2;
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows * heads * width > kLittle)
  for (int64_t row = 0; row < rows; ++row) {
    const T *c1 = cos + row * width, *c2 = c1 + half, *s1 = sin + row * width, *s2 = s1 + half;
    // Forward: (x1 c1 - x2 s1, x2 c2 + x1 s2). Its transpose: (x1 c1 + x2 s2, x2 c2 - x1 s1).
    const T *up = back ? s2 : s1, *down = back ? s1 : s2;
    const float sign = back ? 1.0f : -1.0f;
    for (int64_t head = 0; head < heads; ++head) {
      const T *x1 = x + head * head_stride + row * row_stride, *x2 = x1 + half;
      T *y1 = out + (row * heads + head) * width, *y2 = y1 + half;
#pragma omp simd
      for (int64_t i = 0; i < half; ++i) {
        const float a = widen(x1[i]), b = widen(x2[i]);
        narrow(a * widen(c1[i]) + sign * b * widen(up[i]), y1[i]);
        narrow(b * widen(c2[i]) - sign * a * widen(down[i]), y2[i]);
      }
    }
  }
}

// Log-sum-exp, log-prob of the target and, unless null, entropy of each row of logits z [rows, width].
template <typename T>
void head_forward(const T *z, const int64_t *target, float *logsum, float *logp, float *entropy, int64_t rows,
                  int64_t width, int64_t threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows * width > kLittle)
  for (int64_t row = 0; row < rows; ++row) {
    const T *from = z + row * width;
    float top = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : top)
    for (int64_t i = 0; i < width; ++i) top = widen(from[i]) > top ? widen(from[i]) : top;
    float sum = 0, along = 0;
    if (entropy) {
#pragma omp simd reduction(+ : sum, along)
      for (int64_t i = 0; i < width; ++i) {
        const float x = widen(from[i]) - top, e = exponential(x);
        sum += e;
        along += e * x;
      }
      entropy[row] = std::log(sum) - along / sum;
    } else {
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < width; ++i) sum += exponential(widen(from[i]) - top);
    }
    logsum[row] = top + std::log(sum);
    logp[row] = widen(from[target[row]]) - top - std::log(sum);
  }
}

// Logits become their gradient in place; `of_entropy` and `entropy` may be null.
template <typename T>
void head_backward(T *z, const int64_t *target, const float *logsum, const float *entropy, const float *of_logp,
                   const float *of_entropy, int64_t rows, int64_t width, int64_t threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows * width > kLittle)
  for (int64_t row = 0; row < rows; ++row) {
    T *at = z + row * width;
    const float lse = logsum[row], slope = of_logp[row];
    const float hit = widen(at[target[row]]) - lse;
    const float h = of_entropy ? of_entropy[row] : 0.0f, offset = of_entropy ? entropy[row] : 0.0f;
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) {
      const float x = widen(at[i]) - lse;
      narrow(-exponential(x) * (slope + h * (x + offset)), at[i]);
    }
    narrow(slope - exponential(hit) * (slope + h * (hit + offset)), at[target[row]]);
  }
}

}  // namespace

#define HEEDFUL_ENTRY(NAME, TYPE)                                                                                    \
  extern "C" void heedful_norm_forward_##NAME(const TYPE *x, const TYPE *w, TYPE *y, float *inverse, int64_t rows,    \
                                              int64_t width, float eps, int64_t shift, int64_t threads) {            \
    norm_forward(x, w, y, inverse, rows, width, eps, shift, threads);                                                \
  }                                                                                                                  \
  extern "C" void heedful_norm_backward_##NAME(const TYPE *dy, const TYPE *x, const TYPE *w, const float *inverse,    \
                                               TYPE *dx, float *dw, int64_t rows, int64_t width, int64_t shift,       \
                                               int64_t block, int64_t threads) {                                     \
    norm_backward(dy, x, w, inverse, dx, dw, rows, width, shift, block, threads);                                    \
  }                                                                                                                  \
  extern "C" void heedful_swiglu_forward_##NAME(const TYPE *gate, const TYPE *up, TYPE *y, int64_t rows,              \
                                                int64_t width, int64_t gate_row, int64_t up_row, int64_t threads) {  \
    swiglu_forward(gate, up, y, rows, width, gate_row, up_row, threads);                                             \
  }                                                                                                                  \
  extern "C" void heedful_swiglu_backward_##NAME(const TYPE *dy, const TYPE *gate, const TYPE *up, TYPE *dgate,       \
                                                 TYPE *dup, int64_t rows, int64_t width, int64_t gate_row,           \
                                                 int64_t up_row, int64_t threads) {                                  \
    swiglu_backward(dy, gate, up, dgate, dup, rows, width, gate_row, up_row, threads);                               \
  }                                                                                                                  \
  extern "C" void heedful_rotary_##NAME(const TYPE *x, const TYPE *cos, const TYPE *sin, TYPE *out, int64_t rows,     \
                                        int64_t heads, int64_t width, int64_t head_stride, int64_t row_stride,       \
                                        int64_t back, int64_t threads) {                                             \
    rotary(x, cos, sin, out, rows, heads, width, head_stride, row_stride, back, threads);                            \
  }                                                                                                                  \
  extern "C" void heedful_head_forward_##NAME(const TYPE *z, const int64_t *target, float *logsum, float *logp,       \
                                              float *entropy, int64_t rows, int64_t width, int64_t threads) {        \
    head_forward(z, target, logsum, logp, entropy, rows, width, threads);                                            \
  }                                                                                                                  \
  extern "C" void heedful_head_backward_##NAME(TYPE *z, const int64_t *target, const float *logsum,                   \
                                               const float *entropy, const float *of_logp, const float *of_entropy,  \
                                               int64_t rows, int64_t width, int64_t threads) {                       \
    head_backward(z, target, logsum, entropy, of_logp, of_entropy, rows, width, threads);                            \
  }

HEEDFUL_ENTRY(float32, float)
HEEDFUL_ENTRY(bfloat16, bf16)
