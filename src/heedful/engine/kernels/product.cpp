// Products of matrices in bf16 by tiles, for training: the twin of engine/kernels/product.py.
//
// Any size is computed at once: nothing is prepared for it or kept for the next. A number is summed in one order, which
// depends on the depth alone: its bits do not depend on other lines or on the number of threads.

#include <atomic>
#include <limits>
#include <vector>

#include "tiles.h"

#ifdef HEEDFUL_TILES

namespace {

constexpr int64_t kLine = 2 * kLines;      // lines of a panel
constexpr int64_t kNear = 512;             // depth of a left panel that stays in the first-level cache
constexpr int64_t kWideNear = 384;         // the same beside another one that is laid out meanwhile
constexpr int64_t kWideDeep = 1024;        // depth after which sums in fp32 go to memory
constexpr int64_t kBlock = 704 << 10;      // numbers of the right side that stay in the second-level cache

struct Room {
  std::vector<uint8_t> bytes;
  template <typename T>
  T *numbers(int64_t n) {
    if (int64_t(bytes.size()) < n * int64_t(sizeof(T)) + 64) bytes.resize(n * sizeof(T) + 64);
    return reinterpret_cast<T *>((reinterpret_cast<uintptr_t>(bytes.data()) + 63) / 64 * 64);
  }
};

inline int64_t cut(int64_t n, int64_t most, int64_t unit) {  // the size of even parts of at most `most`
  const int64_t parts = std::max<int64_t>(1, (n + most - 1) / most);
  return ((n + parts - 1) / parts + unit - 1) / unit * unit;
}

// Two sides with their depth in common, one of the products that are summed.
struct Term {
  Side left, right;
  int64_t k;
};

// A part of a term's depth that is multiplied at once, and the steps of its group that come before it.
struct Stretch {
  Side left, right;
  int64_t depth, before;
  int64_t steps() const { return (depth + kTileDeep - 1) / kTileDeep; }
};

// Stretches for which the right side is laid out together.
struct Group {
  std::vector<Stretch> stretches;
  int64_t steps = 0;
};

inline Side from(const Side &side, int64_t line, int64_t k) {
  return {side.at + line * side.line + k * side.deep, side.line, side.deep};
}

std::vector<Group> grouped(const Term *terms, int64_t count, int64_t nearest, int64_t most) {
  std::vector<Group> found(1);
  for (const Term *term = terms; term < terms + count; ++term) {
    const int64_t near = cut(term->k, nearest, kTileDeep);
    for (int64_t k = 0; k < term->k; k += near) {
      Stretch part = {from(term->left, 0, k), from(term->right, 0, k), std::min(near, term->k - k), 0};
      if (found.back().steps && (found.back().steps + part.steps()) * kTileDeep > most) found.emplace_back();
      part.before = found.back().steps;
      found.back().steps += part.steps();
      found.back().stretches.push_back(part);
    }
  }
  return found;
}

// A row of sums, rounded to out in bf16.
inline void finish(const float *sums, bf16 *out, int64_t columns) {
  const __mmask32 mask = columns >= kLine ? ~__mmask32(0) : (__mmask32(1) << columns) - 1;
  _mm512_mask_storeu_epi16(out, mask, narrowed(_mm512_load_ps(sums), _mm512_load_ps(sums + kLines)));
}

// A row of sums at an edge of out in fp32, to and from it.
inline void finish(const float *sums, float *out, int64_t columns) {
  for (int64_t i = 0; i < kLine; i += kLines)
    _mm512_mask_storeu_ps(out + i, before(columns, i), _mm512_load_ps(sums + i));
}
inline void begin(float *sums, const float *out, int64_t columns) {
  for (int64_t i = 0; i < kLine; i += kLines)
    _mm512_store_ps(sums + i, _mm512_maskz_loadu_ps(before(columns, i), out + i));
}
inline void begin(float *, const bf16 *, int64_t) {}

// Work that is done bit by bit while tiles multiply: `bits` of it in so many steps, and what is left at the end.
template <typename F>
struct Beside {
  F bit;
  int64_t bits, steps, done = 0, credit = 0;
  void step() {
    for (credit += bits; credit >= steps && done < bits; credit -= steps) bit(done++);
  }
  void end() {
    while (done < bits) bit(done++);
  }
};
template <typename F>
Beside<F> beside(int64_t bits, int64_t steps, F bit) {
  return {bit, bits, steps};
}

// What one thread does with some columns of the right side and a group of stretches, 32 lines of out at a time.
template <typename T>
struct Columns {
  const Group &group;
  const bf16 *packed;
  T *out;
  int64_t apart, m, columns;
  bool more;     // out is added to
  float *sums;   // [columns / 32][32, 32]
  bf16 *room;    // for two left panels

  int64_t rows(int64_t row) const { return std::min(kLine, m - row); }
  // Whole blocks in fp32 are summed in their place.
  bool in_place(int64_t row, int64_t c) const { return sizeof(T) == 4 && rows(row) == kLine && columns - c >= kLine; }
  bool as_it_lies(const Stretch &part, int64_t row) const {
    return part.left.deep == 1 && rows(row) == kLine && part.depth % kTileDeep == 0;
  }

  // One tile of a left panel.
  void fill(const Stretch &part, int64_t row, int64_t tile, bf16 *panel) const {
    const int64_t line = tile % 2 * kLines, k = tile / 2 * kTileDeep;
    const int64_t lines = std::max<int64_t>(0, rows(row) - line);
    fill_tile<false>(from(part.left, row + line, k), lines, part.depth - k, panel + tile * kTile);
  }
  int64_t tiles(const Stretch &part, int64_t row) const { return row < m && !as_it_lies(part, row) ? 2 * part.steps() : 0; }

  // `next` gives the first of the next 32 lines that nobody has taken.
  template <typename F>
  void run(F next) const {
    const std::vector<Stretch> &parts = group.stretches;
    bf16 *panel = room, *other = room + kLine * kNear;
    int64_t row = next();
    for (int64_t tile = 0; tile < tiles(parts[0], row); ++tile) fill(parts[0], row, tile, panel);
    while (row < m) {
      int64_t following = row;
      for (size_t p = 0; p < parts.size(); ++p) {
        const bool last = p + 1 == parts.size();
        if (last) following = next();
        const Stretch &coming = parts[last ? 0 : p + 1];
        const int64_t blocks = (columns + kLine - 1) / kLine;
        auto ahead = beside(tiles(coming, following), blocks * parts[p].steps(),
                            [&](int64_t tile) { fill(coming, following, tile, other); });
        const Left left = as_it_lies(parts[p], row) ? Left(from(parts[p].left, row, 0)) : Left(panel);
        for (int64_t c = 0; c < columns; c += kLine) multiply_block(parts[p], row, c, left, p == 0, last, ahead);
        if (last) finish_block(row, (blocks - 1) * kLine);
        ahead.end();
        std::swap(panel, other);
      }
      row = following;
    }
  }

  template <typename F>
  void multiply_block(const Stretch &part, int64_t row, int64_t c, const Left &left, bool first, bool last,
                      Beside<F> &ahead) const {
    const bf16 *right = packed + (c / kLine * group.steps + part.before) * kPair;
    T *to = out + row * apart + c;
    if (in_place(row, c))
      return multiply_panels(left, right, part.steps(), reinterpret_cast<float *>(to), apart, more || !first,
                             [&] { ahead.step(); });
    float *here = sums + c * kLine;
    if (more && first)
      for (int64_t i = 0; i < rows(row); ++i) begin(here + i * kLine, to + i * apart, columns - c);
    // The block before this one is stored meanwhile.
    const bool waiting = last && c && !in_place(row, c - kLine);
    auto behind = beside(waiting ? rows(row) : 0, part.steps(), [&](int64_t i) { finish_row(row, c - kLine, i); });
    multiply_panels(left, right, part.steps(), here, kLine, more || !first, [&] {
      behind.step();
      ahead.step();
    });
    behind.end();
  }

  void finish_row(int64_t row, int64_t c, int64_t i) const {
    finish(sums + (c + i) * kLine, out + (row + i) * apart + c, columns - c);
  }
  void finish_block(int64_t row, int64_t c) const {
    for (int64_t i = 0; i < rows(row) && !in_place(row, c); ++i) finish_row(row, c, i);
  }
};

// The right side of a stretch for some columns as panels, a share of it by each thread: by columns or by depth, as it
// lies in memory.
void lay_out(const Stretch &part, int64_t steps, int64_t column, int64_t columns, bf16 *packed) {
  const auto fill = [&](int64_t c, int64_t step) {
    const int64_t k = step * kTileDeep;
    fill_panel<true>(from(part.right, column + c, k), columns - c, std::min(kTileDeep, part.depth - k),
                     packed + (c / kLine * steps + part.before + step) * kPair);
  };
  if (part.right.deep == 1) {
#pragma omp for schedule(static) nowait
    for (int64_t c = 0; c < columns; c += kLine)
      for (int64_t step = 0; step < part.steps(); ++step) fill(c, step);
  } else {
#pragma omp for schedule(static) nowait
    for (int64_t step = 0; step < part.steps(); ++step)
      for (int64_t c = 0; c < columns; c += kLine) fill(c, step);
  }
}

// out [m, n], rows `apart` apart, = the sum of left [m, k] right [n, k]^T over the terms, or for `add` that much more.
template <typename T>
void multiply(const Term *terms, int64_t count, T *out, int64_t apart, int64_t m, int64_t n, bool add, int64_t threads) {
  static thread_local Room kept;
  const bool wide = sizeof(T) == 4;
  const std::vector<Group> groups = grouped(terms, count, wide ? kWideNear : kNear, wide ? kWideDeep : std::numeric_limits<int64_t>::max());
  int64_t steps = 1;
  for (const Group &group : groups) steps = std::max(steps, group.steps);
  const int64_t deep = steps * kTileDeep, block = cut(n, std::max(kLine, kBlock / deep / kLine * kLine), kLine);
  bf16 *packed = kept.numbers<bf16>(deep * block);
  std::atomic<int64_t> taken{0};
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    static thread_local Room near_room, sums_room;
    bf16 *lines = near_room.numbers<bf16>(2 * kLine * kNear);
    float *sums = sums_room.numbers<float>(kLine * block);
    const Tiles configured;
    for (int64_t column = 0; column < n; column += block)
      for (const Group &group : groups) {
        const int64_t columns = std::min(block, n - column);
        const bool more = add || &group != groups.data();
#pragma omp single nowait
        taken = 0;
        for (const Stretch &part : group.stretches) lay_out(part, group.steps, column, columns, packed);
#pragma omp barrier
        Columns<T>{group, packed, out + column, apart, m, columns, more, sums, lines}.run([&] {
          return kLine * taken.fetch_add(1, std::memory_order_relaxed);
        });
#pragma omp barrier
      }
  }
}

}  // namespace

extern "C" int heedful_tiles() { return have_tiles(); }

extern "C" void heedful_product_bfloat16(const Term *terms, int64_t count, bf16 *out, int64_t apart, int64_t m,
                                         int64_t n, int64_t, int64_t threads) {
  multiply(terms, count, out, apart, m, n, false, threads);
}

extern "C" void heedful_product_float32(const Term *terms, int64_t count, float *out, int64_t apart, int64_t m,
                                        int64_t n, int64_t add, int64_t threads) {
  multiply(terms, count, out, apart, m, n, add, threads);
}

#else

extern "C" int heedful_tiles() { return 0; }

#endif
