// bk_measure_peak of the CPU: every thread measures for itself, at the same time.
#include <exception>
#include <memory>
#include <new>
#include <thread>

#include "engine.h"

using namespace bk;

double bk_measure_peak(bk_engine* engine, int peak, double seconds) {
  const size_t threads = (size_t)engine->threads;
  const auto measure = [&]() -> double {
    std::unique_ptr<float[]> data;
    if (peak >= BK_PEAK_MEMORY) data.reset(new (std::nothrow) float[kPeakFloats]);
    return engine_peak(*engine->kernels, peak, seconds, data.get());
  };
  std::unique_ptr<std::thread[]> others(new (std::nothrow) std::thread[threads]);
  std::unique_ptr<double[]> rates(new (std::nothrow) double[threads]());
  if (!others || !rates) return 0;
  try {
    for (size_t i = 1; i < threads; i++) others[i] = std::thread([&, i] { rates[i] = measure(); });
  } catch (const std::exception&) {  // measured with the threads there are
  }
  rates[0] = measure();
  double total = rates[0];
  for (size_t i = 1; i < threads; i++) {
    if (others[i].joinable()) others[i].join();
    total += rates[i];
  }
  return total;
}
