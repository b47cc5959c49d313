// How often and how long something is run to be timed; trtexec's conventions.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

namespace sal {

struct TimingSettings {
    double warmup_ms = 200.0;
    double min_seconds = 3.0;
    std::size_t min_iterations = 10;  ///< of each stream
};

struct Timing {
    std::vector<double> latencies_ms;  ///< of every run of every stream
    double seconds = 0.0;              ///< wall clock from the first start to the last end
};

/// Warm up, then run until at least `min_seconds` have passed and every stream has run `min_iterations` times.
///
/// `run` is called with its stream's number, from that stream's thread. What it throws is thrown here.
Timing time_runs(std::size_t streams, const TimingSettings& settings, const std::function<void(std::size_t)>& run);

}  // namespace sal
