// A whole decoding step of a Llama-like model in fp32: embedding, layers, head. The twin of calling the model.
//
// States lie feature by feature, rows side by side (product.h); queries, keys and values lie row by row, as attention
// reads them (attend.h). A row's logits depend on that row alone, bit by bit.

#include <cmath>

#include "attend.h"
#include "product.h"

struct Layer {
  const float *norm_in, *q, *k, *v, *q_bias, *k_bias, *v_bias, *q_norm, *k_norm, *o, *o_bias;
  const float *norm_mid, *gate, *up, *down;       // biases and norms of heads may be null
  void *prompt_k, *prompt_v, *answer_k, *answer_v;  // as in Step
};

struct Whole {
  const Layer *layers;
  const float *embedding, *norm_out, *head, *cos, *sin;  // cos, sin [positions, width]
  const int64_t *token, *slot, *sample, *written, *prompt_length;
  float *scratch, *logits;  // [heedful_step_scratch()], [rows, vocabulary]
  int64_t depth, rows, hidden, heads, kv_heads, width, inner, vocabulary, positions;
  int64_t slots, prompt_room, samples, answer_room, threads;
  float eps, scale;
};

namespace {

inline int64_t ceiling(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Where things lie in the scratch memory.
struct Room {
  const Whole &w;
  const int64_t panels, queries, keys, joined;  // features of queries, of keys, of queries with keys and values
  float *states, *normed, *gated, *rows_joined, *attended;

  explicit Room(const Whole &whole)
      : w(whole), panels(ceiling(whole.rows, kPanel)), queries(whole.heads * whole.width),
        keys(whole.kv_heads * whole.width), joined(queries + 2 * keys) {
    states = whole.scratch;
    normed = states + panels * kPanel * whole.hidden;
    gated = normed + panels * kPanel * std::max(whole.hidden, queries);
    rows_joined = gated + panels * kPanel * whole.inner;
    attended = rows_joined + whole.rows * joined;
  }

  int64_t size() const { return attended + w.rows * queries - w.scratch; }
  int64_t rows_of(int64_t panel) const { return std::min(kPanel, w.rows - panel * kPanel); }
  int64_t vectors_of(int64_t panel) const { return ceiling(rows_of(panel), kLanes); }
};

class Run {
 public:
  explicit Run(const Whole &whole) : w(whole), room(whole), starts(runs_of(whole.slot, whole.rows)) {}

  template <int VECTORS>
  void go() {
#pragma omp parallel num_threads(w.threads) if (w.threads > 1)
    {
      embed();
      for (int64_t at = 0; at < w.depth; ++at) {
        const Layer &layer = w.layers[at];
        norm(layer.norm_in);
        join(layer);
        attend<VECTORS>(layer);
        add(layer.o, layer.o_bias, room.queries, room.normed);
        norm(layer.norm_mid);
        gate(layer);
        add(layer.down, nullptr, w.inner, room.gated);
      }
      norm(w.norm_out);
      head();
    }
  }

 private:
  const Whole &w;
  const Room room;
  const std::vector<int64_t> starts;

  // Let the threads compute groups of `outputs` outputs for each panel of rows: body(panel, first, count).
  template <typename Body>
  void share(int64_t outputs, Body body) {
    const int64_t units = ceiling(outputs, kGroup) * room.panels;
#pragma omp for schedule(dynamic)
    for (int64_t unit = 0; unit < units; ++unit) {
      const int64_t first = unit / room.panels * kGroup;
      body(unit % room.panels, first, std::min(kGroup, outputs - first));
    }
  }

  void times(const float *weight, int64_t depth, const float *x, int64_t panel, int64_t first, int64_t count,
             float *y) const {
    product(weight + first * depth, depth, x + panel * depth * kPanel, count, room.vectors_of(panel), y);
  }

  void embed() {
#pragma omp for schedule(dynamic)
    for (int64_t panel = 0; panel < room.panels; ++panel) {
      float *states = room.states + panel * w.hidden * kPanel;
      std::memset(states, 0, w.hidden * kPanel * sizeof(float));
      for (int64_t row = 0; row < room.rows_of(panel); ++row) {
        const float *from = w.embedding + w.token[panel * kPanel + row] * w.hidden;
        for (int64_t i = 0; i < w.hidden; ++i) states[i * kPanel + row] = from[i];
      }
    }
  }

  void norm(const float *weight) {
#pragma omp for schedule(dynamic)
    for (int64_t at = 0; at < room.panels * kVectors; ++at) {
      const int64_t panel = at / kVectors, lanes = at % kVectors * kLanes;
      if (lanes >= room.rows_of(panel)) continue;
      const float *from = room.states + panel * w.hidden * kPanel + lanes;
      float *to = room.normed + panel * w.hidden * kPanel + lanes;
      Lanes sums[4] = {};
      for (int64_t i = 0; i < w.hidden; ++i) {
        const Lanes x = load(from + i * kPanel);
        sums[i % 4] += x * x;
      }
      const Lanes sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
      Lanes share;
      for (int64_t lane = 0; lane < kLanes; ++lane) share[lane] = 1.0f / std::sqrt(sum[lane] / float(w.hidden) + w.eps);
      for (int64_t i = 0; i < w.hidden; ++i) store(to + i * kPanel, load(from + i * kPanel) * share * weight[i]);
    }
  }

  // Queries, keys and values, row by row.
  void join(const Layer &layer) {
    const float *weights[] = {layer.q, layer.k, layer.v}, *biases[] = {layer.q_bias, layer.k_bias, layer.v_bias};
    const int64_t outputs[] = {room.queries, room.keys, room.keys};
    int64_t place = 0;
    for (int part = 0; part < 3; place += outputs[part++])
      share(outputs[part], [&](int64_t panel, int64_t first, int64_t count) {
        Group y;
        times(weights[part], w.hidden, room.normed, panel, first, count, y);
        lay_down(y, biases[part], panel, first, count, room.rows_joined + place, room.joined);
      });
  }

  // Outputs of a panel into rows of `stride` numbers.
  void lay_down(const float *y, const float *bias, int64_t panel, int64_t first, int64_t count, float *rows,
                int64_t stride) const {
    for (int64_t row = 0; row < room.rows_of(panel); ++row) {
      float *to = rows + (panel * kPanel + row) * stride + first;
      for (int64_t n = 0; n < count; ++n) to[n] = y[n * kPanel + row] + (bias ? bias[first + n] : 0.0f);
    }
  }

  template <int VECTORS>
  void attend(const Layer &layer) {
    float *q = room.rows_joined, *k = q + room.queries, *v = k + room.keys;
    const int64_t repeat = w.heads / w.kv_heads;
    const Step step = {q, k, v, room.attended, layer.prompt_k, layer.prompt_v, layer.answer_k, layer.answer_v,
                       w.slot, w.sample, w.written, w.prompt_length, nullptr,
                       w.slots, w.rows, w.heads, w.kv_heads, w.width, w.prompt_room, w.samples, w.answer_room,
                       w.width, room.joined, w.width, room.joined, w.width, room.joined, 0, 1, w.scale, 0.0f};
    Worker<float, VECTORS> worker(step);
    const int64_t units = (int64_t(starts.size()) - 1) * w.kv_heads;
#pragma omp for schedule(dynamic)
    for (int64_t unit = 0; unit < units; ++unit) {
      const int64_t run = unit / w.kv_heads, head = unit % w.kv_heads;
      for (int64_t row = starts[run]; row < starts[run + 1]; ++row) {
        const int64_t position = w.prompt_length[w.slot[row]] + w.written[row];
        for (int64_t i = 0; i < repeat; ++i)
          turn(q + row * room.joined + (head * repeat + i) * w.width, layer.q_norm, position);
        turn(k + row * room.joined + head * w.width, layer.k_norm, position);
      }
      worker.run(starts[run], starts[run + 1], head);
      for (int64_t row = starts[run]; row < starts[run + 1]; ++row) {
        const int64_t first = head * repeat * w.width, panel = row / kPanel;
        const float *from = room.attended + row * room.queries;
        float *to = room.normed + panel * room.queries * kPanel + row % kPanel;
        for (int64_t i = first; i < first + repeat * w.width; ++i) to[i * kPanel] = from[i];
      }
    }
  }

  // A head's norm, where there is one, and its rotary embedding (halves as in Llama), in place.
  void turn(float *x, const float *weight, int64_t position) const {
    if (weight) {
      float sum = 0;
      for (int64_t i = 0; i < w.width; ++i) sum += x[i] * x[i];
      const float share = 1.0f / std::sqrt(sum / float(w.width) + w.eps);
      for (int64_t i = 0; i < w.width; ++i) x[i] = x[i] * share * weight[i];
    }
    const float *cos = w.cos + position * w.width, *sin = w.sin + position * w.width;
    const int64_t half = w.width / 2;
#pragma omp simd
    for (int64_t i = 0; i < half; ++i) {
      const float a = x[i], b = x[half + i];
      x[i] = a * cos[i] - b * sin[i];
      x[half + i] = b * cos[half + i] + a * sin[half + i];
    }
  }

  // Add a product to the states.
  void add(const float *weight, const float *bias, int64_t depth, const float *x) {
    share(w.hidden, [&](int64_t panel, int64_t first, int64_t count) {
      Group y;
      times(weight, depth, x, panel, first, count, y);
      float *to = room.states + (panel * w.hidden + first) * kPanel;
      for (int64_t n = 0; n < count; ++n) {
        const float shift = bias ? bias[first + n] : 0.0f;
        for (int64_t i = n * kPanel; i < n * kPanel + room.vectors_of(panel) * kLanes; i += kLanes)
          store(to + i, load(to + i) + (load(y + i) + shift));
      }
    });
  }

  // silu(gate) up.
  void gate(const Layer &layer) {
    share(w.inner, [&](int64_t panel, int64_t first, int64_t count) {
      Group g, u;
      times(layer.gate, w.hidden, room.normed, panel, first, count, g);
      times(layer.up, w.hidden, room.normed, panel, first, count, u);
      float *to = room.gated + (panel * w.inner + first) * kPanel;
      for (int64_t n = 0; n < count; ++n)
#pragma omp simd
        for (int64_t i = n * kPanel; i < n * kPanel + room.vectors_of(panel) * kLanes; ++i) {
          const float e = exponential(g[i] < 0 ? g[i] : -g[i]);
          to[i] = g[i] * ((g[i] < 0 ? e : 1.0f) / (1.0f + e)) * u[i];
        }
    });
  }

  void head() {
    share(w.vocabulary, [&](int64_t panel, int64_t first, int64_t count) {
      Group y;
      times(w.head, w.hidden, room.normed, panel, first, count, y);
      lay_down(y, nullptr, panel, first, count, w.logits, w.vocabulary);
    });
  }
};

bool inside(const Whole &w) {
  Step step = {};
  step.slot = w.slot, step.sample = w.sample, step.written = w.written, step.prompt_length = w.prompt_length;
  step.rows = w.rows, step.slots = w.slots, step.samples = w.samples;
  step.prompt_room = w.prompt_room, step.answer_room = w.answer_room;
  if (!fits(step)) return false;
  for (int64_t row = 0; row < w.rows; ++row) {
    if (w.token[row] < 0 || w.token[row] >= w.vocabulary) return false;
    if (w.prompt_length[w.slot[row]] + w.written[row] >= w.positions) return false;
  }
  return true;
}

}  // namespace

// Floats of scratch memory that a step needs; of `whole` only sizes are looked at.
extern "C" int64_t heedful_step_scratch(const Whole *whole) { return Room(*whole).size(); }

// 0, or 1 if a row lies outside the slots, the vocabulary or the positions; then nothing is read or written.
extern "C" int heedful_step(const Whole *whole) {
  if (!inside(*whole)) return 1;
  Run run(*whole);
  switch (whole->width) {
    case 32: run.go<2>(); break;
    case 48: run.go<3>(); break;
    case 64: run.go<4>(); break;
    case 96: run.go<6>(); break;
    case 128: run.go<8>(); break;
    default: run.go<0>();
  }
  return 0;
}
