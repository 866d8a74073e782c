// Numbers and vectors that the kernels share.

#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <type_traits>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace {

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

// What compilers lower to the registers that there are.
constexpr int64_t kLanes = 16;
typedef float Lanes __attribute__((vector_size(64)));
typedef uint32_t Bits __attribute__((vector_size(64)));
typedef uint16_t HalfBits __attribute__((vector_size(32)));

inline Lanes load(const float *x) {
  Lanes y;
  std::memcpy(&y, x, sizeof y);
  return y;
}
inline Lanes load(const bf16 *x) {
  HalfBits half;
  std::memcpy(&half, x, sizeof half);
  const Bits bits = __builtin_convertvector(half, Bits) << 16;
  Lanes y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}
inline void store(float *x, Lanes y) { std::memcpy(x, &y, sizeof y); }
#if defined(__AVX512BF16__) && defined(__AVX512VL__)
inline void store(bf16 *x, Lanes y) {
  const __m256bh narrow = _mm512_cvtneps_pbh(y);
  std::memcpy(x, &narrow, sizeof narrow);
}
#else
inline void store(bf16 *x, Lanes y) {
  float wide[kLanes];
  std::memcpy(wide, &y, sizeof wide);
#pragma omp simd
  for (int64_t i = 0; i < kLanes; ++i) narrow(wide[i], x[i]);
}
#endif

// The first n numbers, and `fill` beside them; n may be known to the compiler.
template <typename T>
inline Lanes get(const T *x, int64_t n, float fill = 0.0f) {
  if (n == kLanes) return load(x);
  Lanes y = {};
  for (int64_t i = 0; i < kLanes; ++i) y[i] = i < n ? widen(x[i]) : fill;
  return y;
}
template <typename T>
inline void put(T *x, Lanes y, int64_t n) {
  if (n == kLanes) return store(x, y);
  for (int64_t i = 0; i < n; ++i) narrow(y[i], x[i]);
}

// What is left of numbers that are rounded to T.
template <typename T>
inline Lanes rounded(Lanes x) {
  T y[kLanes];
  store(y, x);
  return load(y);
}

// body(i, n) for n numbers from i on, vector by vector.
template <typename F>
inline void each(int64_t width, F body) {
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) body(i, std::integral_constant<int64_t, kLanes>());
  if (i < width) body(i, width - i);
}

#if defined(__AVX512F__)
inline Lanes exponential(Lanes x) {  // within 2 ulp, for any x that does not overflow
  x = _mm512_max_ps(_mm512_set1_ps(-87.0f), x);  // of a NaN: itself
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 8);
  const __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x));
  __m512 p = _mm512_set1_ps(1.9875691500e-4f);
  for (const float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
  return _mm512_scalef_ps(_mm512_fmadd_ps(_mm512_mul_ps(p, r), r, _mm512_add_ps(r, _mm512_set1_ps(1.0f))), n);
}
inline Lanes reciprocal(Lanes x) {  // within 2 ulp
  const Lanes near = _mm512_rcp14_ps(x);
  return near * (2.0f - x * near);
}
#else
inline Lanes exponential(Lanes x) {  // for x <= 0, as above
  x = x < -87.0f ? Lanes{} - 87.0f : x;
  const Lanes shifted = x * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
  const Lanes r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Lanes p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  Bits power;
  std::memcpy(&power, &shifted, sizeof power);
  power = (power + 127u) << 23;
  Lanes scale;
  std::memcpy(&scale, &power, sizeof scale);
  return p * scale;
}
inline Lanes reciprocal(Lanes x) { return 1.0f / x; }
#endif

inline float total(Lanes x) {
#if defined(__has_builtin) && __has_builtin(__builtin_shufflevector)
  x += __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  x += __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
  x += __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
  return x[0] + x[1];
#else
  float sum = 0;
  for (int64_t i = 0; i < kLanes; ++i) sum += x[i];
  return sum;
#endif
}

}  // namespace
