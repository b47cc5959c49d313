#include "statistics.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

namespace sal {
namespace {

double mean(const std::vector<double>& values) {
    return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

/// In whole numbers: 0.07 * 100 is more than 7 in floating point.
double at_rank(const std::vector<double>& sorted, unsigned percent) {
    return sorted[(percent * sorted.size() + 99) / 100 - 1];
}

}  // namespace

double percentile(std::vector<double> values, unsigned percent) {
    std::sort(values.begin(), values.end());
    return at_rank(values, percent);
}

LatencySummary latency_summary(const std::vector<double>& values) {
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    return {sorted.front(),      mean(values),        at_rank(sorted, 50), at_rank(sorted, 90),
            at_rank(sorted, 95), at_rank(sorted, 99), sorted.back()};
}

double coefficient_of_variation(const std::vector<double>& values) {
    if (values.size() < 2) {
        return 0.0;
    }
    const double middle = mean(values);
    double squares = 0.0;
    for (const double value : values) {
        squares += (value - middle) * (value - middle);
    }
    return std::sqrt(squares / static_cast<double>(values.size() - 1)) / middle;
}

}  // namespace sal
