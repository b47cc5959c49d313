#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "bench.hpp"
#include "top_k.hpp"

using sal::Hit;
using sal::Rows;
using sal::top_k;

namespace {

/// All scores of a query in double precision, sorted: best first, the lower index first among equals.
std::vector<std::pair<double, std::size_t>> brute_force(const float* query, const Rows& gallery) {
    std::vector<std::pair<double, std::size_t>> scores;
    for (std::size_t row = 0; row < gallery.count; ++row) {
        double score = 0.0;
        for (std::size_t i = 0; i < gallery.dim; ++i) {
            score += static_cast<double>(query[i]) * static_cast<double>(gallery.values[row * gallery.dim + i]);
        }
        scores.emplace_back(-score, row);
    }
    std::sort(scores.begin(), scores.end());
    return scores;
}

/// Small whole numbers: sums in fp32 are exact in any order, and most scores are ties.
std::vector<float> whole_numbers(std::size_t count, int largest, unsigned seed) {
    std::mt19937 random(seed);
    std::uniform_int_distribution<int> uniform(-largest, largest);
    std::vector<float> values(count);
    std::generate(values.begin(), values.end(), [&] { return static_cast<float>(uniform(random)); });
    return values;
}

}  // namespace

TEST_CASE("the k best as by brute force, with ties, for any sizes and threads") {
    for (const std::size_t dim : {1U, 3U, 16U, 37U, 128U}) {
        for (const std::size_t items : {1U, 2U, 5U, 255U, 256U, 259U, 1031U}) {
            const std::vector<float> values = whole_numbers(items * dim, 2, static_cast<unsigned>(items + dim));
            const Rows gallery{values.data(), items, dim};
            for (const std::size_t num_queries : {1U, 2U, 16U, 17U, 64U}) {
                const std::vector<float> asked = whole_numbers(num_queries * dim, 2, 7);
                for (const std::size_t k : {1U, 10U}) {
                    for (const std::size_t threads : {1U, 3U, 8U}) {
                        CAPTURE(dim);
                        CAPTURE(items);
                        CAPTURE(num_queries);
                        CAPTURE(threads);
                        const auto hits = top_k({asked.data(), num_queries, dim}, gallery, k, threads);
                        REQUIRE(hits.size() == num_queries);
                        for (std::size_t query = 0; query < num_queries; ++query) {
                            const auto expected = brute_force(asked.data() + query * dim, gallery);
                            REQUIRE(hits[query].size() == std::min(k, items));
                            for (std::size_t rank = 0; rank < hits[query].size(); ++rank) {
                                REQUIRE(hits[query][rank].index == expected[rank].second);
                                REQUIRE(static_cast<double>(hits[query][rank].score) == -expected[rank].first);
                            }
                        }
                    }
                }
            }
        }
    }
}

TEST_CASE("equal rows come in their order, though a later one is met first in another thread") {
    const std::vector<float> values(4000, 1.0F);
    const std::vector<float> query{1.0F};
    const auto hits = top_k({query.data(), 1, 1}, {values.data(), values.size(), 1}, 5, 4);
    for (std::size_t rank = 0; rank < 5; ++rank) {
        CHECK(hits[0][rank].index == rank);
    }
}

TEST_CASE("better and better rows replace what was kept") {
    std::vector<float> values(3000);
    for (std::size_t row = 0; row < values.size(); ++row) {
        values[row] = static_cast<float>(row);
    }
    const std::vector<float> query{1.0F};
    const auto hits = top_k({query.data(), 1, 1}, {values.data(), values.size(), 1}, 3, 2);
    CHECK(hits[0][0].index == 2999);
    CHECK(hits[0][2].index == 2997);
}

TEST_CASE("unit vectors: scores are cosines to fp32 accuracy, the query itself is its own best") {
    constexpr std::size_t kDim = 128;
    const std::vector<float> values = sal::random_unit_vectors(2000, kDim, 3);
    const Rows gallery{values.data(), 2000, kDim};
    const auto hits = top_k({values.data(), 20, kDim}, gallery, 10, 2);
    for (std::size_t query = 0; query < 20; ++query) {
        const auto expected = brute_force(values.data() + query * kDim, gallery);
        CHECK(hits[query][0].index == query);
        CHECK(hits[query][0].score == doctest::Approx(1.0));
        for (std::size_t rank = 0; rank < 10; ++rank) {
            CHECK(std::abs(static_cast<double>(hits[query][rank].score) + expected[rank].first) < 1e-6);
        }
    }
}
