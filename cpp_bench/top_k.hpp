// Exact top-k by cosine: chunks of the gallery against all queries, with the best k so far carried along.
#pragma once

#include <cstddef>
#include <vector>

namespace sal {

/// Rows of a matrix in C order that lives elsewhere.
struct Rows {
    const float* values;
    std::size_t count;
    std::size_t dim;
};

struct Hit {
    float score;
    std::size_t index;
};

/// The k nearest gallery rows of each query by inner product, which for unit vectors is the cosine.
///
/// Both have the same dim; all values are finite, k and threads at least 1. Returns min(k, gallery.count) hits for each
/// query, best first, the lower index first among equal scores. Scores are sums in fp32, in an order that depends on
/// the processor and on the number of queries.
std::vector<std::vector<Hit>> top_k(const Rows& queries, const Rows& gallery, std::size_t k, std::size_t threads);

}  // namespace sal
