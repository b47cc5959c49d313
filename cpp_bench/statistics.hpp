// Statistics of measured latencies; the same formulas as `sal bench engine`.
#pragma once

#include <vector>

namespace sal {

/// Of one run of one batch, ms.
struct LatencySummary {
    double min, mean, median, p90, p95, p99, max;
};

/// Largest coefficient of variation of a row that may be called stable.
inline constexpr double kStableVariation = 0.10;

/// Nearest-rank percentile: the value at rank ceil(percent / 100 * n), counted from 1, of the sorted values.
///
/// Always one of the values, never between two of them. `percent` is 1 to 100, `values` holds at least one.
double percentile(std::vector<double> values, unsigned percent);

/// `values` holds at least one.
LatencySummary latency_summary(const std::vector<double>& values);

/// Standard deviation (with n - 1) over the mean; 0 for a single value.
double coefficient_of_variation(const std::vector<double>& values);

}  // namespace sal
