// An AdamW step of one parameter in fp32 and of its copy in bf16 in one pass, and the size of its gradient:
// engine/kernels/adamw.py.
//
// An element is computed by itself, sums are made of parts: bits do not depend on the number of threads.

#include <cmath>

#include "numbers.h"

struct Adam {
  float rate, beta1, beta2, eps, kept;  // kept: what weight decay leaves of a weight
  float factor;                         // of the gradient
  float correction, root_correction;    // 1 - beta1^step, and the root of 1 - beta2^step
};

namespace {

constexpr int64_t kLittle = 1 << 15;  // elements for which a second thread does not pay
constexpr int64_t kPart = 1 << 12;

template <bool COPIED>
void update(float *weight, float *mean, float *square, const float *gradient, bf16 *copy, int64_t n, const Adam &a) {
  const float rate = a.rate / a.correction;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float g = gradient[i] * a.factor;
    const float m = mean[i] + (1.0f - a.beta1) * (g - mean[i]);
    const float v = a.beta2 * square[i] + (1.0f - a.beta2) * g * g;
    const float w = weight[i] * a.kept - rate * m / (std::sqrt(v) / a.root_correction + a.eps);
    mean[i] = m, square[i] = v, weight[i] = w;
    if (COPIED) narrow(w, copy[i]);
  }
}

}  // namespace

// `copy` may be null.
extern "C" void heedful_adamw(float *weight, float *mean, float *square, const float *gradient, bf16 *copy, int64_t n,
                              const Adam *a, int64_t threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && n > kLittle)
  for (int64_t i = 0; i < n; i += kPart) {
    const int64_t part = n - i < kPart ? n - i : kPart;
    if (copy)
      update<true>(weight + i, mean + i, square + i, gradient + i, copy + i, part, *a);
    else
      update<false>(weight + i, mean + i, square + i, gradient + i, nullptr, part, *a);
  }
}

// The squares of the parts of x: [ceil(n / 4096)].
extern "C" void heedful_squares(const float *x, double *sums, int64_t n, int64_t threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && n > kLittle)
  for (int64_t i = 0; i < n; i += kPart) {
    Lanes sum[4] = {};
    const int64_t part = n - i < kPart ? n - i : kPart;
    each(part, [&](int64_t k, auto count) {
      const Lanes y = get(x + i + k, count);
      sum[k / kLanes % 4] += y * y;
    });
    sums[i / kPart] = double(total(sum[0] + sum[1])) + double(total(sum[2] + sum[3]));
  }
}
