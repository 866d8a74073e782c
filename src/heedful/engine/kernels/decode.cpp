// One layer's attention of a decoding step by itself: see attend.h.

#include "attend.h"

namespace {

template <typename T, int VECTORS>
void attend(const Step &s) {
  const std::vector<int64_t> starts = runs_of(s.slot, s.rows);
  const int64_t units = (int64_t(starts.size()) - 1) * s.kv_heads;
#pragma omp parallel num_threads(s.threads) if (s.threads > 1)
  {
    Worker<T, VECTORS> worker(s);
#pragma omp for schedule(dynamic)
    for (int64_t unit = 0; unit < units; ++unit) {
      const int64_t run = unit / s.kv_heads;
      worker.run(starts[run], starts[run + 1], unit % s.kv_heads);
    }
  }
}

template <typename T>
void attend_any_width(const Step &s) {
  switch (s.width) {
    case 32: return attend<T, 2>(s);
    case 48: return attend<T, 3>(s);
    case 64: return attend<T, 4>(s);
    case 96: return attend<T, 6>(s);
    case 128: return attend<T, 8>(s);
    default: return attend<T, 0>(s);
  }
}

template <typename T>
int checked(const Step &s) {
  if (!fits(s)) return 1;
  attend_any_width<T>(s);
  return 0;
}

}  // namespace

// 0, or 1 if a row lies outside the slots; then nothing is read or written.
extern "C" int heedful_decode_float32(const Step *step) { return checked<float>(*step); }
extern "C" int heedful_decode_bfloat16(const Step *step) { return checked<bf16>(*step); }
