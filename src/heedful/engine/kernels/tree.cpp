// Attention over a packed row of prompts and their branches in bf16 by tiles, both ways: the twin of
// `engine.attention._TreeAttention` (engine/kernels/tree.py).
//
// A unit of work is one key/value head of one group: a prompt with its branches, whose segments lie end to end. Each
// segment is filled up to panels of 32 lines. 32 queries see their prompt's panels and then their own segment's, up to
// themselves. What a query gets depends on its own group alone, never on other groups or on the number of threads.

#include <cmath>
#include <limits>
#include <vector>

#include "tiles.h"

struct Row {
  const void *q, *k, *v;               // [heads or kv_heads, rows, width], last dimension dense
  void *out;                           // [rows, heads, width], dense
  float *logsum;                       // [heads, rows]
  const void *dout;                    // as q, backward only
  void *dq, *dk, *dv;                  // [rows, heads or kv_heads, width], dense, backward only
  const int64_t *starts, *firsts;      // [segments + 1]: rows; [groups + 1]: segments, of which the first is the prompt
  int64_t groups, rows, heads, kv_heads, width, threads;
  int64_t q_head, q_row, k_head, k_row, v_head, v_row, dout_head, dout_row;  // strides in elements
  float scale;
};

#ifdef HEEDFUL_TILES

namespace {

constexpr int64_t kLine = 2 * kLines;
constexpr int64_t kSquare = kLine * kLine;

inline int64_t panels(int64_t n) { return (n + kLine - 1) / kLine; }

template <typename T>
struct Array {
  std::vector<T> values;
  T *room(int64_t n) {
    if (int64_t(values.size()) < n + 32) values.resize(n + 32);
    return reinterpret_cast<T *>((reinterpret_cast<uintptr_t>(values.data()) + 63) / 64 * 64);
  }
};

// A group's segments: where each begins among the row's lines, its length, and its first panel.
struct Group {
  std::vector<int64_t> start, length, panel;
  int64_t panels_in_all = 0;

  Group(const Row &row, int64_t number) {
    for (int64_t s = row.firsts[number]; s < row.firsts[number + 1]; ++s) {
      start.push_back(row.starts[s]);
      length.push_back(row.starts[s + 1] - row.starts[s]);
      panel.push_back(panels_in_all);
      panels_in_all += panels(length.back());
    }
  }
};

// 32 queries of a segment, and the panels of keys that they see: `shared` of the prompt, `own` of the segment.
struct Block {
  int64_t segment, first, count, shared, own;
  const Group &group;

  Block(const Group &of, int64_t s, int64_t number)
      : segment(s), first(number * kLine), count(std::min(kLine, of.length[s] - number * kLine)),
        shared(s ? panels(of.length[0]) : 0), own(number + 1), group(of) {}
  int64_t row() const { return group.start[segment] + first; }
  int64_t seen() const { return shared + own; }
  int64_t panel(int64_t j) const { return j < shared ? j : group.panel[segment] + j - shared; }
  // How many keys of its j-th panel query r sees.
  int64_t keys(int64_t j, int64_t r) const {
    if (r >= count) return 0;
    const int64_t left = j < shared ? group.length[0] - j * kLine : first + r + 1 - (j - shared) * kLine;
    return std::min(kLine, std::max<int64_t>(0, left));
  }
};

struct Lines {  // one head of a matrix
  const bf16 *at;
  int64_t row;
  Lines(const void *x, int64_t head, int64_t head_stride, int64_t row_stride)
      : at(static_cast<const bf16 *>(x) + head * head_stride), row(row_stride) {}
  Side along(int64_t line) const { return {at + line * row, row, 1}; }               // its lines are lines
  Side across(int64_t line, int64_t from) const { return {at + line * row + from, 1, row}; }  // its columns are
};

struct Worker {
  const Row &r;
  const int64_t width, deep, wide;  // wide: panels of 32 numbers of the width, which is also its steps of depth
  Array<bf16> keys, values, across_keys, left, left_too, right, right_too, weights, slopes, turned;
  Array<float> scores, more, sums, to_keys, to_values;

  explicit Worker(const Row &row) : r(row), width(row.width), deep(panels(row.width) * kLine), wide(panels(row.width)) {}

  // Panels of lines with the width as depth: [panels][wide].
  bf16 *lay_along(Array<bf16> &room, const Group &group, const Lines &x) {
    bf16 *to = room.room(group.panels_in_all * kLine * deep);
    for (size_t s = 0; s < group.start.size(); ++s)
      for (int64_t p = 0; p < panels(group.length[s]); ++p)
        fill_panel<true>(x.along(group.start[s] + p * kLine), group.length[s] - p * kLine, width,
                         to + (group.panel[s] + p) * kLine * deep);
    return to;
  }

  // Panels of the width with lines as depth: [wide][panels].
  bf16 *lay_across(Array<bf16> &room, const Group &group, const Lines &x) {
    bf16 *to = room.room(group.panels_in_all * kLine * deep);
    for (int64_t w = 0; w < wide; ++w)
      for (size_t s = 0; s < group.start.size(); ++s)
        fill_panel<true>(x.across(group.start[s], w * kLine), width - w * kLine, group.length[s],
                         to + (w * group.panels_in_all + group.panel[s]) * kPair);
    return to;
  }

  // sums [32, 32] = a block's weights times panel w of what lies across.
  void gather(const Block &b, const bf16 *weighted, const bf16 *laid, int64_t w, float *into) {
    const bf16 *at = laid + w * b.group.panels_in_all * kPair;
    if (b.shared) multiply_panels(weighted, at, b.shared, into, kLine, false);
    multiply_panels(weighted + b.shared * kPair, at + b.group.panel[b.segment] * kPair, b.own, into, kLine, b.shared > 0);
  }

  void store(const float *from, const float *factors, int64_t lines, int64_t w, bf16 *to, int64_t apart) {
    const int64_t columns = std::min(kLine, width - w * kLine);
    const __mmask32 mask = columns >= kLine ? ~__mmask32(0) : (__mmask32(1) << columns) - 1;
    for (int64_t i = 0; i < lines; ++i) {
      const __m512 by = _mm512_set1_ps(factors ? factors[i] : 1.0f);
      const __m512i found = narrowed(_mm512_mul_ps(by, _mm512_load_ps(from + i * kLine)),
                                     _mm512_mul_ps(by, _mm512_load_ps(from + i * kLine + kLines)));
      _mm512_mask_storeu_epi16(to + i * apart + w * kLine, mask, found);
    }
  }

  void forward(const Group &group, int64_t kv_head) {
    const bf16 *k = lay_along(keys, group, Lines(r.k, kv_head, r.k_head, r.k_row));
    const bf16 *v = lay_across(values, group, Lines(r.v, kv_head, r.v_head, r.v_row));
    const int64_t repeat = r.heads / r.kv_heads;
    for (int64_t head = kv_head * repeat; head < (kv_head + 1) * repeat; ++head)
      for (size_t s = 0; s < group.start.size(); ++s)
        for (int64_t n = 0; n < panels(group.length[s]); ++n) attend(Block(group, s, n), head, k, v);
  }

  void attend(const Block &b, int64_t head, const bf16 *k, const bf16 *v) {
    bf16 *q = left.room(kLine * deep), *weighted = weights.room(b.seen() * kPair);
    float *z = scores.room(b.seen() * kSquare), *into = sums.room(kSquare);
    fill_panel<false>(Lines(r.q, head, r.q_head, r.q_row).along(b.row()), b.count, width, q);
    for (int64_t j = 0; j < b.seen(); ++j)
      multiply_panels(q, k + b.panel(j) * kLine * deep, wide, z + j * kSquare, kLine, false);
    float inverse[kLine];
    const __m512 scale = _mm512_set1_ps(r.scale);
    for (int64_t i = 0; i < kLine; ++i) {
      __m512 tops = _mm512_set1_ps(-std::numeric_limits<float>::infinity()), sums_of = _mm512_setzero_ps();
      for (int64_t j = 0; j < b.seen(); ++j)
        for (int64_t half = 0; half < kLine; half += kLines) {
          const __m512 at = _mm512_load_ps(z + j * kSquare + i * kLine + half);
          tops = _mm512_mask_max_ps(tops, before(b.keys(j, i), half), tops, at);
        }
      const float top = _mm512_reduce_max_ps(tops);
      for (int64_t j = 0; j < b.seen(); ++j) {
        __m512 p[2];
        for (int64_t half = 0; half < 2; ++half) {
          const __m512 at = _mm512_load_ps(z + j * kSquare + i * kLine + half * kLines);
          const __m512 x = _mm512_mul_ps(scale, _mm512_sub_ps(at, _mm512_set1_ps(top)));
          p[half] = _mm512_maskz_mov_ps(before(b.keys(j, i), half * kLines), exponential(x));
          sums_of = _mm512_add_ps(sums_of, p[half]);
        }
        _mm512_store_si512(weighted + j * kPair + i * kLine, narrowed(p[0], p[1]));
      }
      const float sum = _mm512_reduce_add_ps(sums_of);
      if (i < b.count) {
        inverse[i] = 1.0f / sum;
        r.logsum[head * r.rows + b.row() + i] = r.scale * top + std::log(sum);
      }
    }
    bf16 *out = static_cast<bf16 *>(r.out) + (b.row() * r.heads + head) * width;
    for (int64_t w = 0; w < wide; ++w) {
      gather(b, weighted, v, w, into);
      store(into, inverse, b.count, w, out, r.heads * width);
    }
  }

  void backward(const Group &group, int64_t kv_head) {
    const Lines of_keys(r.k, kv_head, r.k_head, r.k_row), of_values(r.v, kv_head, r.v_head, r.v_row);
    const bf16 *k = lay_along(keys, group, of_keys), *v = lay_along(values, group, of_values);
    const bf16 *across = lay_across(across_keys, group, of_keys);
    const int64_t all = group.panels_in_all * kLine * deep, repeat = r.heads / r.kv_heads;
    float *dk = to_keys.room(all), *dv = to_values.room(all);  // [panels][wide][32, 32]
    std::fill(dk, dk + all, 0.0f);
    std::fill(dv, dv + all, 0.0f);
    for (int64_t head = kv_head * repeat; head < (kv_head + 1) * repeat; ++head)
      for (size_t s = 0; s < group.start.size(); ++s)
        for (int64_t n = 0; n < panels(group.length[s]); ++n) turn(Block(group, s, n), head, k, v, across, dk, dv);
    const int64_t apart = r.kv_heads * width;
    for (size_t s = 0; s < group.start.size(); ++s)
      for (int64_t p = 0; p < panels(group.length[s]); ++p)
        for (int64_t w = 0; w < wide; ++w) {
          const int64_t from = ((group.panel[s] + p) * wide + w) * kSquare, line = group.start[s] + p * kLine;
          const int64_t to = line * apart + kv_head * width, lines = std::min(kLine, group.length[s] - p * kLine);
          store(dk + from, nullptr, lines, w, static_cast<bf16 *>(r.dk) + to, apart);
          store(dv + from, nullptr, lines, w, static_cast<bf16 *>(r.dv) + to, apart);
        }
  }

  void turn(const Block &b, int64_t head, const bf16 *k, const bf16 *v, const bf16 *across, float *dk, float *dv) {
    const Lines of_q(r.q, head, r.q_head, r.q_row), of_dout(r.dout, head, r.dout_head, r.dout_row);
    bf16 *q = left.room(kLine * deep), *dout = left_too.room(kLine * deep);
    bf16 *q_across = right.room(kLine * deep), *dout_across = right_too.room(kLine * deep);
    bf16 *weighted = weights.room(kPair), *slope = slopes.room(b.seen() * kPair), *aside = turned.room(kPair);
    float *z = scores.room(kSquare), *dp = more.room(kSquare), *into = sums.room(kSquare);
    fill_panel<false>(of_q.along(b.row()), b.count, width, q);
    fill_panel<false>(of_dout.along(b.row()), b.count, width, dout);
    for (int64_t w = 0; w < wide; ++w) {
      fill_panel<true>(of_q.across(b.row(), w * kLine), width - w * kLine, b.count, q_across + w * kPair);
      fill_panel<true>(of_dout.across(b.row(), w * kLine), width - w * kLine, b.count, dout_across + w * kPair);
    }
    float delta[kLine] = {}, logsum[kLine] = {};
    for (int64_t i = 0; i < b.count; ++i) {
      const bf16 *found = static_cast<const bf16 *>(r.out) + ((b.row() + i) * r.heads + head) * width;
      const bf16 *asked = of_dout.at + (b.row() + i) * of_dout.row;
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t c = 0; c < width; ++c) sum += widen(found[c]) * widen(asked[c]);
      delta[i] = sum;
      logsum[i] = r.logsum[head * r.rows + b.row() + i];
    }
    const __m512 scale = _mm512_set1_ps(r.scale);
    for (int64_t j = 0; j < b.seen(); ++j) {
      const int64_t panel = b.panel(j);
      multiply_panels(q, k + panel * kLine * deep, wide, z, kLine, false);
      multiply_panels(dout, v + panel * kLine * deep, wide, dp, kLine, false);
      for (int64_t i = 0; i < kLine; ++i) {
        __m512 p[2], ds[2];
        for (int64_t half = 0; half < 2; ++half) {
          const int64_t at = i * kLine + half * kLines;
          const __m512 x = _mm512_fmsub_ps(scale, _mm512_load_ps(z + at), _mm512_set1_ps(logsum[i]));
          p[half] = _mm512_maskz_mov_ps(before(b.keys(j, i), half * kLines), exponential(x));
          const __m512 apart = _mm512_sub_ps(_mm512_load_ps(dp + at), _mm512_set1_ps(delta[i]));
          ds[half] = _mm512_mul_ps(_mm512_mul_ps(p[half], apart), scale);
        }
        _mm512_store_si512(weighted + i * kLine, narrowed(p[0], p[1]));
        _mm512_store_si512(slope + j * kPair + i * kLine, narrowed(ds[0], ds[1]));
      }
      add_turned(weighted, dout_across, dv + panel * wide * kSquare, aside);
      add_turned(slope + j * kPair, q_across, dk + panel * wide * kSquare, aside);
    }
    bf16 *dq = static_cast<bf16 *>(r.dq) + (b.row() * r.heads + head) * width;
    for (int64_t w = 0; w < wide; ++w) {
      gather(b, slope, across, w, into);
      store(into, nullptr, b.count, w, dq, r.heads * width);
    }
  }

  // sums [wide][32, 32] += square^T times what lies across.
  void add_turned(const bf16 *square, const bf16 *laid, float *into, bf16 *aside) {
    fill_panel<false>(Side{square, 1, kLine}, kLine, kLine, aside);
    for (int64_t w = 0; w < wide; ++w) multiply_panels(aside, laid + w * kPair, 1, into + w * kSquare, kLine, true);
  }
};

template <typename F>
void each_unit(const Row &row, F work) {
#pragma omp parallel num_threads(row.threads) if (row.threads > 1)
  {
    const Tiles configured;
    Worker worker(row);
#pragma omp for schedule(dynamic)
    for (int64_t unit = 0; unit < row.groups * row.kv_heads; ++unit)
      work(worker, Group(row, unit / row.kv_heads), unit % row.kv_heads);
  }
}

}  // namespace

extern "C" void heedful_tree_forward(const Row *row) {
  each_unit(*row, [](Worker &w, const Group &group, int64_t head) { w.forward(group, head); });
}

extern "C" void heedful_tree_backward(const Row *row) {
  each_unit(*row, [](Worker &w, const Group &group, int64_t head) { w.backward(group, head); });
}

#endif
