// From logits to tokens, a row at a time with settings of its own: the twin of `engine.choose`.
//
// A row is computed by one thread in one order: its token does not depend on other rows or on the number of threads.

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "numbers.h"

struct Draw {
  const float *logits, *changed;  // [rows, width]: the model's, and those that are drawn from
  const double *uniforms;         // [rows]
  const float *temperature, *top_p, *min_p;
  const int64_t *top_k;  // 0: all
  int64_t *token;
  float *logp, *behavior;
  int64_t rows, width, threads;
};

namespace {

constexpr int64_t kBins = 4096;  // of a float that is not negative, by its exponent and four bits more
constexpr int64_t kBlock = 128;

inline int64_t bin_of(float p) {
  uint32_t bits;
  std::memcpy(&bits, &p, 4);
  return bits >> 19 & (kBins - 1);
}

inline float top_of(const float *z, int64_t n) {
  float top = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < n; ++i) top = z[i] > top ? z[i] : top;
  return top;
}

// log p of one token where p = softmax(z / temperature).
inline float log_probability(const float *z, int64_t n, float inverse, int64_t token) {
  const float top = top_of(z, n);
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += exponential((z[i] - top) * inverse);
  return (z[token] - top) * inverse - std::log(sum);
}

struct Row {
  std::vector<float> p, sorted;
  std::vector<double> sums, mass;
  std::vector<int64_t> edge;

  void keep_top_k(int64_t k) {
    if (k <= 0 || k >= int64_t(p.size())) return;
    sorted = p;
    std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end(), std::greater<float>());
    const float least = sorted[k - 1];
    for (float &x : p) x = x < least ? 0.0f : x;
  }

  // Keep the likeliest tokens until the mass before a token reaches `share` of all.
  void keep_top_p(float share) {
    if (share >= 1) return;
    mass.assign(kBins, 0.0);
    for (float x : p) mass[bin_of(x)] += x;
    const double enough = share * std::accumulate(mass.begin(), mass.end(), 0.0);
    int64_t bin = kBins - 1;
    double before = 0;
    for (; bin > 0 && before + mass[bin] < enough; --bin) before += mass[bin];
    edge.clear();
    for (int64_t i = 0; i < int64_t(p.size()); ++i) {
      const int64_t at = bin_of(p[i]);
      if (at == bin) edge.push_back(i);
      if (at < bin) p[i] = 0;
    }
    std::sort(edge.begin(), edge.end(), [&](int64_t a, int64_t b) { return p[a] != p[b] ? p[a] > p[b] : a < b; });
    for (int64_t i : edge) {
      const float x = p[i];
      if (before >= enough) p[i] = 0;
      before += x;
    }
  }

  // The token at which the running sum passes u of the whole; the whole too.
  int64_t draw(double u, double *whole) {
    const int64_t n = p.size(), blocks = (n + kBlock - 1) / kBlock;
    sums.resize(blocks);
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t end = std::min(n, (b + 1) * kBlock);
      double sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = b * kBlock; i < end; ++i) sum += double(p[i]);
      sums[b] = sum;
    }
    *whole = std::accumulate(sums.begin(), sums.end(), 0.0);
    const double target = u * *whole;
    double before = 0;
    int64_t last = 0;
    for (int64_t b = 0; b < blocks; before += sums[b++]) {
      if (sums[b] > 0) last = b;
      if (before + sums[b] > target) break;
    }
    // Rounding may place the target just past the last token with any mass.
    before = std::accumulate(sums.begin(), sums.begin() + last, 0.0);
    int64_t token = last * kBlock;
    for (int64_t i = token; i < std::min(n, (last + 1) * kBlock); ++i) {
      if (p[i] <= 0) continue;
      token = i;
      before += double(p[i]);
      if (before > target) break;
    }
    return token;
  }

  void run(const Draw &d, int64_t row) {
    const int64_t n = d.width;
    const float *z = d.changed + row * n, *own = d.logits + row * n;
    const float temperature = d.temperature[row], top = top_of(z, n);
    if (temperature == 0) {
      const int64_t token = std::find(z, z + n, top) - z;
      d.token[row] = token < n ? token : 0;  // nothing equals a NaN
      d.logp[row] = log_probability(own, n, 1.0f, d.token[row]);
      d.behavior[row] = 0;
      return;
    }
    const float inverse = 1.0f / temperature;
    p.resize(n);
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      const float x = (z[i] - top) * inverse;
      p[i] = x >= -87.0f ? exponential(x) : 0.0f;  // of a NaN too
    }
    keep_top_k(d.top_k[row]);
    keep_top_p(d.top_p[row]);
    const float least = d.min_p[row];
    if (least > 0)
      for (float &x : p) x = x < least ? 0.0f : x;  // the likeliest one's is 1
    double whole;
    const int64_t token = draw(d.uniforms[row], &whole);
    const bool truncated = d.top_k[row] > 0 || d.top_p[row] < 1 || least > 0;
    d.token[row] = token;
    d.behavior[row] = float(std::log(double(p[token]) / whole));
    d.logp[row] = truncated || z != own ? log_probability(own, n, inverse, token) : d.behavior[row];
  }
};

}  // namespace

extern "C" void heedful_choose(const Draw *draw) {
#pragma omp parallel num_threads(draw->threads) if (draw->threads > 1)
  {
    Row worker;
#pragma omp for schedule(dynamic)
    for (int64_t row = 0; row < draw->rows; ++row) worker.run(*draw, row);
  }
}
