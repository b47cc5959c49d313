#include "top_k.hpp"

#include <algorithm>
#include <cstring>
#include <future>
#include <limits>

// The compiler vectorises these loops for several instruction sets, and the program takes the best when it starts; too
// early for ThreadSanitizer, which is not yet there.
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__AVX__) && !defined(__SANITIZE_THREAD__)
#define SAL_VECTOR_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SAL_VECTOR_CLONES
#endif

namespace sal {
namespace {

constexpr std::size_t kLanes = 16;       // floats beside each other: one AVX-512 register, two of AVX2, four of SSE
constexpr std::size_t kRowsAtOnce = 4;   // of the gallery, for each load of the queries
constexpr std::size_t kChunkRows = 256;  // with their scores in the second-level cache
constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool better(const Hit& one, const Hit& other) {
    return one.score > other.score || (one.score == other.score && one.index < other.index);
}

/// scores[row] = query . row
SAL_VECTOR_CLONES void score_one(const float* query, const float* rows, std::size_t count, std::size_t dim,
                                 float* scores) {
    for (std::size_t row = 0; row < count; ++row, rows += dim) {
        float sums[kLanes] = {};
        std::size_t i = 0;
        for (; i + kLanes <= dim; i += kLanes) {
            for (std::size_t lane = 0; lane < kLanes; ++lane) {
                sums[lane] += query[i + lane] * rows[i + lane];
            }
        }
        float sum = 0.0F;
        for (; i < dim; ++i) {
            sum += query[i] * rows[i];
        }
        for (const float lane_sum : sums) {
            sum += lane_sum;
        }
        scores[row] = sum;
    }
}

/// scores[row, query] = query . row, with one query in each lane: `lanes` is [dim, width], width a multiple of kLanes,
/// count one of kRowsAtOnce. Four arrays, as the compiler keeps those in registers, and not one array of four.
SAL_VECTOR_CLONES void score_lanes(const float* lanes, std::size_t width, const float* rows, std::size_t count,
                                   std::size_t dim, float* scores) {
    for (std::size_t row = 0; row < count; row += kRowsAtOnce, rows += kRowsAtOnce * dim) {
        for (std::size_t first = 0; first < width; first += kLanes) {
            float sums0[kLanes] = {};
            float sums1[kLanes] = {};
            float sums2[kLanes] = {};
            float sums3[kLanes] = {};
            for (std::size_t i = 0; i < dim; ++i) {
                const float* queries = lanes + i * width + first;
                for (std::size_t lane = 0; lane < kLanes; ++lane) {
                    sums0[lane] += rows[i] * queries[lane];
                    sums1[lane] += rows[dim + i] * queries[lane];
                    sums2[lane] += rows[2 * dim + i] * queries[lane];
                    sums3[lane] += rows[3 * dim + i] * queries[lane];
                }
            }
            float* target = scores + row * width + first;
            std::memcpy(target, sums0, sizeof sums0);
            std::memcpy(target + width, sums1, sizeof sums1);
            std::memcpy(target + 2 * width, sums2, sizeof sums2);
            std::memcpy(target + 3 * width, sums3, sizeof sums3);
        }
    }
}

/// Whether any score is above its threshold; one comparison for many lanes, as nearly always none is.
SAL_VECTOR_CLONES bool any_above(const float* scores, const float* thresholds, std::size_t width) {
    int above = 0;
    for (std::size_t lane = 0; lane < width; ++lane) {
        above |= scores[lane] > thresholds[lane] ? 1 : 0;
    }
    return above != 0;
}

/// Queries as score_one (width 1) or score_lanes take them; lanes without a query hold zeros.
struct PackedQueries {
    std::vector<float> values;
    std::size_t width;

    explicit PackedQueries(const Rows& queries)
        : width(queries.count == 1 ? 1 : (queries.count + kLanes - 1) / kLanes * kLanes) {
        values.resize(queries.dim * width);
        for (std::size_t query = 0; query < queries.count; ++query) {
            for (std::size_t i = 0; i < queries.dim; ++i) {
                values[i * width + query] = queries.values[query * queries.dim + i];
            }
        }
    }

    void score(const float* rows, std::size_t count, std::size_t dim, std::vector<float>& scores) const {
        if (width == 1) {
            score_one(values.data(), rows, count, dim, scores.data());
            return;
        }
        const std::size_t even = count / kRowsAtOnce * kRowsAtOnce;
        score_lanes(values.data(), width, rows, even, dim, scores.data());
        if (even < count) {  // the last rows of the gallery, with zeros behind them
            std::vector<float> rest(kRowsAtOnce * dim);
            std::copy(rows + even * dim, rows + count * dim, rest.begin());
            score_lanes(values.data(), width, rest.data(), kRowsAtOnce, dim, scores.data() + even * width);
        }
    }
};

/// Keep a hit in `kept` (sorted, at most k); returns the score a later row must exceed.
float keep(std::vector<Hit>& kept, const Hit& hit, std::size_t k) {
    kept.insert(std::upper_bound(kept.begin(), kept.end(), hit, better), hit);
    if (kept.size() > k) {
        kept.pop_back();
    }
    return kept.size() < k ? -kInfinity : kept.back().score;
}

/// Best k of each query among the gallery's rows first..last-1.
std::vector<std::vector<Hit>> best_in_range(const PackedQueries& queries, std::size_t num_queries, const Rows& gallery,
                                            std::size_t k, std::size_t first, std::size_t last) {
    std::vector<std::vector<Hit>> kept(num_queries);
    std::vector<float> thresholds(queries.width, kInfinity);  // lanes without a query keep nothing
    std::fill_n(thresholds.begin(), num_queries, -kInfinity);
    std::vector<float> scores(kChunkRows * queries.width);
    for (std::size_t start = first; start < last; start += kChunkRows) {
        const std::size_t count = std::min(kChunkRows, last - start);
        queries.score(gallery.values + start * gallery.dim, count, gallery.dim, scores);
        for (std::size_t row = 0; row < count; ++row) {
            const float* row_scores = scores.data() + row * queries.width;
            if (!any_above(row_scores, thresholds.data(), queries.width)) {
                continue;
            }
            for (std::size_t query = 0; query < num_queries; ++query) {
                if (row_scores[query] > thresholds[query]) {
                    thresholds[query] = keep(kept[query], {row_scores[query], start + row}, k);
                }
            }
        }
    }
    return kept;
}

}  // namespace

std::vector<std::vector<Hit>> top_k(const Rows& queries, const Rows& gallery, std::size_t k, std::size_t threads) {
    const PackedQueries packed(queries);
    const auto range = [&](std::size_t part) {
        return best_in_range(packed, queries.count, gallery, k, gallery.count * part / threads,
                             gallery.count * (part + 1) / threads);
    };
    std::vector<std::future<std::vector<std::vector<Hit>>>> others;
    for (std::size_t part = 1; part < threads; ++part) {
        others.push_back(std::async(std::launch::async, range, part));
    }
    std::vector<std::vector<Hit>> hits = range(0);
    for (auto& other : others) {
        const std::vector<std::vector<Hit>> more = other.get();
        for (std::size_t query = 0; query < hits.size(); ++query) {
            hits[query].insert(hits[query].end(), more[query].begin(), more[query].end());
        }
    }
    for (std::vector<Hit>& of_query : hits) {
        std::sort(of_query.begin(), of_query.end(), better);
        of_query.resize(std::min(k, of_query.size()));
    }
    return hits;
}

}  // namespace sal
