#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "statistics.hpp"

using sal::coefficient_of_variation;
using sal::latency_summary;
using sal::LatencySummary;
using sal::percentile;

// the vectors of the tests of sal_cli.bench.statistics
TEST_CASE("percentiles by nearest rank") {
    std::vector<double> values(10);
    std::iota(values.begin(), values.end(), 1.0);
    CHECK(percentile(values, 50) == 5.0);
    CHECK(percentile(values, 90) == 9.0);
    CHECK(percentile(values, 95) == 10.0);
    CHECK(percentile(values, 99) == 10.0);
    for (const unsigned percent : {1U, 50U, 90U, 95U, 99U, 100U}) {
        CHECK(percentile({7.0}, percent) == 7.0);
    }
    values.resize(100);
    std::iota(values.begin(), values.end(), 1.0);
    for (unsigned percent = 1; percent <= 100; ++percent) {  // 0.07 * 100 is more than 7 in floating point
        CHECK(percentile(values, percent) == percent);
    }
}

TEST_CASE("a summary of latencies in any order") {
    const LatencySummary summary = latency_summary({4.0, 1.0, 3.0, 2.0, 10.0});
    CHECK(summary.min == 1.0);
    CHECK(summary.mean == 4.0);
    CHECK(summary.median == 3.0);
    CHECK(summary.p90 == 10.0);
    CHECK(summary.p95 == 10.0);
    CHECK(summary.p99 == 10.0);
    CHECK(summary.max == 10.0);
}

TEST_CASE("the coefficient of variation divides by n - 1") {
    CHECK(coefficient_of_variation({1.0, 2.0, 3.0}) == doctest::Approx(0.5));
    CHECK(coefficient_of_variation({2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0}) ==
          doctest::Approx(std::sqrt(32.0 / 7.0) / 5.0));
    CHECK(coefficient_of_variation({3.0, 3.0}) == 0.0);
    CHECK(coefficient_of_variation({3.0}) == 0.0);
}
