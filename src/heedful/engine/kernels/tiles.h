// Matrix tiles (AMX): what they are configured as, and how numbers in bf16 are laid out for them.
//
// A product's left side has tiles of 16 lines by 32 deep, its right side the same tile with its pairs of neighbours in
// depth transposed: 16 pairs by 16 lines. A tile of either form is 1 KB.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "numbers.h"

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__AVX512VL__) && defined(__linux__)
#define HEEDFUL_TILES 1
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

constexpr int64_t kLines = 16;       // of a tile
constexpr int64_t kTileDeep = 32;    // depth of a tile
constexpr int64_t kTile = kLines * kTileDeep;
constexpr int64_t kPair = 2 * kTile;  // two tiles side by side: 32 lines

inline bool have_tiles() {
  static const bool given = syscall(SYS_arch_prctl, 0x1023, 18) == 0;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return given;
}

// Eight tiles of 16 rows of 64 bytes, and afterwards what there was: oneDNN uses them too.
struct Tiles {
  alignas(64) uint8_t before[64];
  Tiles() {
    alignas(64) uint8_t ours[64] = {1};
    for (int tile = 0; tile < 8; ++tile) {
      ours[16 + 2 * tile] = 64;
      ours[48 + tile] = 16;
    }
    _tile_storeconfig(before);
    _tile_loadconfig(ours);
  }
  ~Tiles() { _tile_loadconfig(before); }
};

// A matrix in memory: number (line, k) lies at line * `line` + k * `deep`, and one of the two strides is 1.
struct Side {
  const bf16 *at;
  int64_t line, deep;
};

inline void transpose(__m512i r[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 8; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
  }
}

// 128 bits from each of four places, side by side.
inline __m512i gathered(const bf16 *at, int64_t apart) {
  const auto piece = [&](int64_t i) { return _mm_loadu_si128(reinterpret_cast<const __m128i *>(at + i * apart)); };
  __m512i r = _mm512_castsi128_si512(piece(0));
  r = _mm512_mask_broadcast_i32x4(r, 0x00f0, piece(1));
  r = _mm512_mask_broadcast_i32x4(r, 0x0f00, piece(2));
  return _mm512_mask_broadcast_i32x4(r, 0xf000, piece(3));
}

// A whole left tile of lines that are columns in memory, 8 of them at a time.
inline void turn_left(const Side &side, __m512i *tile) {
  for (int64_t line = 0; line < kLines; line += 8, tile += 8) {
    __m512i r[8], t[8], u[8];
    for (int i = 0; i < 8; ++i) r[i] = gathered(side.at + line + i * side.deep, 8 * side.deep);
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm512_unpacklo_epi16(r[i], r[i + 1]);
      t[i + 1] = _mm512_unpackhi_epi16(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
      for (int half = 0; half < 2; ++half) {
        u[i + 2 * half] = _mm512_unpacklo_epi32(t[i + half], t[i + half + 2]);
        u[i + 2 * half + 1] = _mm512_unpackhi_epi32(t[i + half], t[i + half + 2]);
      }
    for (int i = 0; i < 4; ++i) {
      _mm512_store_si512(tile + 2 * i, _mm512_unpacklo_epi64(u[i], u[i + 4]));
      _mm512_store_si512(tile + 2 * i + 1, _mm512_unpackhi_epi64(u[i], u[i + 4]));
    }
  }
}

// A whole right tile of lines that are rows in memory, 4 pairs in depth at a time.
inline void turn_right(const Side &side, __m512i *tile) {
  for (int64_t pair = 0; pair < kLines; pair += 4, tile += 4) {
    __m512i r[4], t[4];
    for (int i = 0; i < 4; ++i) r[i] = gathered(side.at + 2 * pair + i * side.line, 4 * side.line);
    for (int i = 0; i < 4; i += 2) {
      t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
      t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 2; ++i) {
      _mm512_store_si512(tile + 2 * i, _mm512_unpacklo_epi64(t[i], t[i + 2]));
      _mm512_store_si512(tile + 2 * i + 1, _mm512_unpackhi_epi64(t[i], t[i + 2]));
    }
  }
}

// One tile of up to 16 lines and 32 deep, filled up with zeros; `RIGHT` says of which form.
template <bool RIGHT>
inline void fill_tile(const Side &side, int64_t lines, int64_t deep, bf16 *tile) {
  __m512i r[16], *to = reinterpret_cast<__m512i *>(tile);
  const bool along = side.deep == 1;
  if (along == RIGHT && lines >= kLines && deep >= kTileDeep) return RIGHT ? turn_right(side, to) : turn_left(side, to);
  if (along) {
    const __mmask32 mask = deep >= kTileDeep ? ~__mmask32(0) : (__mmask32(1) << deep) - 1;
    for (int64_t i = 0; i < kLines; ++i)
      r[i] = i < lines ? _mm512_maskz_loadu_epi16(mask, side.at + i * side.line) : _mm512_setzero_si512();
  } else {
    const __mmask16 mask = lines >= kLines ? __mmask16(0xffff) : __mmask16((1u << lines) - 1);
    const auto row = [&](int64_t k) {
      if (k >= deep) return _mm512_setzero_si512();
      return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, side.at + k * side.deep));
    };
    for (int64_t i = 0; i < kLines; ++i)
      r[i] = _mm512_or_si512(row(2 * i), _mm512_slli_epi32(row(2 * i + 1), 16));
  }
  if (along == RIGHT) transpose(r);
  for (int64_t i = 0; i < kLines; ++i) _mm512_store_si512(to + i, r[i]);
}

// 32 lines of a matrix as [steps of 32 deep][2 tiles]; what is not there is zero.
template <bool RIGHT>
inline void fill_panel(const Side &side, int64_t lines, int64_t deep, bf16 *panel) {
  for (int64_t k = 0; k < deep; k += kTileDeep)
    for (int64_t half = 0; half < 2; ++half, panel += kTile) {
      const int64_t line = half * kLines;
      const Side from = {side.at + line * side.line + k * side.deep, side.line, side.deep};
      fill_tile<RIGHT>(from, std::max<int64_t>(0, lines - line), deep - k, panel);
    }
}

// 32 lines of a left side: as a panel, or where they lie with their depth dense.
struct Left {
  const bf16 *at;
  int64_t bytes, half, step;  // from line to line of a tile; numbers to the lower tile, and to the next 32 in depth
  explicit Left(const bf16 *panel) : at(panel), bytes(2 * kTileDeep), half(kTile), step(kPair) {}
  explicit Left(const Side &side) : at(side.at), bytes(2 * side.line), half(kLines * side.line), step(kTileDeep) {}
};

// sums [32, 32], rows `apart` numbers apart, = or += left lines times right panel. The tiles are slow to answer: what
// `beside` does after each step of 32 in depth costs little.
template <typename F>
inline void multiply_panels(Left left, const bf16 *right, int64_t steps, float *sums, int64_t apart, bool more,
                            F beside) {
  const int64_t bytes = apart * sizeof(float);
  if (more) {
    _tile_loadd(0, sums, bytes);
    _tile_loadd(1, sums + kLines, bytes);
    _tile_loadd(2, sums + kLines * apart, bytes);
    _tile_loadd(3, sums + kLines * apart + kLines, bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t k = 0; k < steps; ++k, left.at += left.step, right += kPair) {
    _tile_loadd(4, left.at, left.bytes);
    _tile_loadd(6, right, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, right + kTile, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, left.at + left.half, left.bytes);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
    beside();
  }
  _tile_stored(0, sums, bytes);
  _tile_stored(1, sums + kLines, bytes);
  _tile_stored(2, sums + kLines * apart, bytes);
  _tile_stored(3, sums + kLines * apart + kLines, bytes);
}

inline void multiply_panels(const bf16 *left, const bf16 *right, int64_t steps, float *sums, int64_t apart, bool more) {
  multiply_panels(Left(left), right, steps, sums, apart, more, [] {});
}

// The lanes of 16 numbers from `from` on that lie before `count`.
inline __mmask16 before(int64_t count, int64_t from) {
  return count >= from + kLines ? __mmask16(0xffff) : count <= from ? __mmask16(0) : __mmask16((1u << (count - from)) - 1);
}

inline __m512i narrowed(__m512 low, __m512 high) {
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
}

}  // namespace

#endif
