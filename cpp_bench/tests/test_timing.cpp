#include <doctest/doctest.h>

#include <atomic>
#include <set>
#include <stdexcept>
#include <thread>

#include "timing.hpp"

using sal::time_runs;
using sal::Timing;
using sal::TimingSettings;

TEST_CASE("every stream warms up once, then runs its share, in a thread of its own") {
    std::atomic<int> runs{0};
    std::vector<std::atomic<int>> of_stream(3);
    std::vector<std::thread::id> threads(3);
    const Timing timing = time_runs(3, {0.0, 1e-9, 10}, [&](std::size_t stream) {
        ++runs;
        ++of_stream[stream];
        threads[stream] = std::this_thread::get_id();
    });
    CHECK(timing.latencies_ms.size() == 30);
    CHECK(runs == 33);
    for (const auto& count : of_stream) {
        CHECK(count == 11);
    }
    CHECK(std::set<std::thread::id>(threads.begin(), threads.end()).size() == 3);
}

TEST_CASE("runs go on until the time is up, and the wall clock covers them") {
    const Timing timing = time_runs(1, {0.0, 0.05, 2}, [](std::size_t) {});
    CHECK(timing.latencies_ms.size() > 2);
    CHECK(timing.seconds >= 0.05);
    double sum_ms = 0.0;
    for (const double latency : timing.latencies_ms) {
        CHECK(latency >= 0.0);
        sum_ms += latency;
    }
    CHECK(sum_ms / 1e3 <= timing.seconds);
}

TEST_CASE("what a run throws in any stream is thrown") {
    for (const std::size_t failing : {0U, 1U}) {
        CHECK_THROWS_WITH_AS(time_runs(2, {0.0, 1e-9, 1},
                                       [&](std::size_t stream) {
                                           if (stream == failing) {
                                               throw std::runtime_error("no");
                                           }
                                       }),
                             "no", std::runtime_error);
    }
}
