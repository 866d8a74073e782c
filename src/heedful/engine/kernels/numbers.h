// Numbers and vectors that the kernels share.

#pragma once

#include <cstdint>
#include <cstring>

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
