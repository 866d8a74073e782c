// Parts of a layer that read and write memory and compute little, in one pass each: the twins of engine/kernels/fused.py.
//
// A row is computed by one thread in one order, whatever else is computed: its bits do not depend on its neighbours or
// on the number of threads. Sums over rows are made of blocks of rows, which do not depend on the threads either.

#include <cmath>
#include <limits>

#include "numbers.h"

namespace {

constexpr int64_t kLittle = 1 << 15;  // elements for which a second thread does not pay

inline Lanes sigmoid(Lanes x) {
  const Lanes e = exponential(x < 0.0f ? x : -x);
  return (x < 0.0f ? e : Lanes{} + 1.0f) * reciprocal(1.0f + e);
}

// y = w T(x r) with r = 1 / sqrt(mean x^2 + eps), or with shift 1 (Gemma) y = (1 + w) x r.
template <typename T>
void norm_forward(const T *x, const T *w, T *y, float *inverse, int64_t rows, int64_t width, float eps, int64_t shift,
                  int64_t threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows * width > kLittle)
  for (int64_t row = 0; row < rows; ++row) {
    const T *from = x + row * width;
    T *to = y + row * width;
    Lanes sum = {};
    each(width, [&](int64_t i, auto n) {
      const Lanes a = get(from + i, n);
      sum += a * a;
    });
    const float r = 1.0f / std::sqrt(total(sum) / float(width) + eps);
    inverse[row] = r;
    each(width, [&](int64_t i, auto n) {
      const Lanes a = get(from + i, n) * r, by = get(w + i, n);
      put(to + i, shift ? (1.0f + by) * a : by * rounded<T>(a), n);
    });
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
      Lanes sum = {};
      each(width, [&](int64_t i, auto n) {
        const Lanes g = get(along + i, n), a = get(from + i, n);
        sum += g * (one + get(w + i, n)) * a;
        put(sums + i, get(sums + i, n) + g * a * r, n);
      });
      const float back = total(sum) / float(width) * r * r * r;
      each(width, [&](int64_t i, auto n) {
        put(to + i, get(along + i, n) * (one + get(w + i, n)) * r - get(from + i, n) * back, n);
      });
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
    each(width, [&](int64_t i, auto n) {
      const Lanes a = get(g + i, n);
      put(y + row * width + i, rounded<T>(a * sigmoid(a)) * get(u + i, n), n);
    });
  }
}

// The gradients of gate and up, in rows `apart` numbers apart, and y again, which may be null.
template <typename T>
void swiglu_backward(const T *dy, const T *gate, const T *up, T *dgate, T *dup, T *y, int64_t rows, int64_t width,
                     int64_t gate_row, int64_t up_row, int64_t apart, int64_t threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows * width > kLittle)
  for (int64_t row = 0; row < rows; ++row) {
    const T *g = gate + row * gate_row, *u = up + row * up_row, *along = dy + row * width;
    T *to_gate = dgate + row * apart, *to_up = dup + row * apart;
    each(width, [&](int64_t i, auto n) {
      const Lanes a = get(g + i, n), b = get(u + i, n), d = get(along + i, n), s = sigmoid(a), silu = a * s;
      put(to_up + i, d * silu, n);
      put(to_gate + i, d * b * (s + silu * (1.0f - s)), n);
      if (y) put(y + row * width + i, rounded<T>(silu) * b, n);
    });
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
      each(half, [&](int64_t i, auto n) {
        const Lanes a = get(x1 + i, n), b = get(x2 + i, n);
        put(y1 + i, a * get(c1 + i, n) + sign * b * get(up + i, n), n);
        put(y2 + i, b * get(c2 + i, n) - sign * a * get(down + i, n), n);
      });
    }
  }
}

// Log-sum-exp, log-prob of the target and, unless null, entropy of each row of logits z [rows, width].
template <typename T>
void head_forward(const T *z, const int64_t *target, float *logsum, float *logp, float *entropy, int64_t rows,
                  int64_t width, int64_t threads) {
  constexpr float kNothing = -std::numeric_limits<float>::infinity();
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows * width > kLittle)
  for (int64_t row = 0; row < rows; ++row) {
    const T *from = z + row * width;
    Lanes tops = Lanes{} + kNothing;
    each(width, [&](int64_t i, auto n) {
      const Lanes x = get(from + i, n, kNothing);
      tops = x > tops ? x : tops;
    });
    float top = kNothing;
    for (int64_t i = 0; i < kLanes; ++i) top = tops[i] > top ? tops[i] : top;
    Lanes sums = {}, alongs = {};
    each(width, [&](int64_t i, auto n) {
      const Lanes x = get(from + i, n, top) - top;
      Lanes e = exponential(x);
      for (int64_t lane = n; lane < kLanes; ++lane) e[lane] = 0;
      sums += e;
      if (entropy) alongs += e * x;
    });
    const float sum = total(sums);
    if (entropy) entropy[row] = std::log(sum) - total(alongs) / sum;
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
    each(width, [&](int64_t i, auto n) {
      const Lanes x = get(at + i, n) - lse;
      put(at + i, -exponential(x) * (slope + h * (x + offset)), n);
    });
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
    swiglu_backward<TYPE>(dy, gate, up, dgate, dup, nullptr, rows, width, gate_row, up_row, width, threads);         \
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

// Both ways between the products of a gated MLP whose gate and up stand side by side: [rows, 2 width].
extern "C" void heedful_gated_forward(const bf16 *made, bf16 *y, int64_t rows, int64_t width, int64_t threads) {
  swiglu_forward(made, made + width, y, rows, width, 2 * width, 2 * width, threads);
}

extern "C" void heedful_gated_backward(const bf16 *dy, const bf16 *made, bf16 *y, bf16 *turned, int64_t rows,
                                       int64_t width, int64_t threads) {
  swiglu_backward(dy, made, made + width, turned, turned + width, y, rows, width, 2 * width, 2 * width, 2 * width,
                  threads);
}
