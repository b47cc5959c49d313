#include "timing.hpp"

#include <chrono>
#include <future>

namespace sal {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

Timing run_streams(std::size_t streams, double min_seconds, std::size_t min_iterations,
                   const std::function<void(std::size_t)>& run) {
    const Clock::time_point start = Clock::now();
    const auto one_stream = [&](std::size_t stream) {
        std::vector<double> latencies_ms;
        while (latencies_ms.size() < min_iterations || seconds_since(start) < min_seconds) {
            const Clock::time_point began = Clock::now();
            run(stream);
            latencies_ms.push_back(1e3 * seconds_since(began));
        }
        return latencies_ms;
    };
    std::vector<std::future<std::vector<double>>> others;
    for (std::size_t stream = 1; stream < streams; ++stream) {
        others.push_back(std::async(std::launch::async, one_stream, stream));
    }
    Timing timing;
    timing.latencies_ms = one_stream(0);
    for (auto& other : others) {
        const std::vector<double> latencies_ms = other.get();
        timing.latencies_ms.insert(timing.latencies_ms.end(), latencies_ms.begin(), latencies_ms.end());
    }
    timing.seconds = seconds_since(start);
    return timing;
}

}  // namespace

Timing time_runs(std::size_t streams, const TimingSettings& settings, const std::function<void(std::size_t)>& run) {
    run_streams(streams, settings.warmup_ms / 1e3, 1, run);
    return run_streams(streams, settings.min_seconds, settings.min_iterations, run);
}

}  // namespace sal
