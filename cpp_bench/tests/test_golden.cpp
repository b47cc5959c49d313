#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "golden.hpp"
#include "helpers.hpp"

using sal::Agreement;
using sal::agreement;
using sal::contains;
using sal::error_of;
using sal::require_agreement;

TEST_CASE("largest difference and smallest cosine, by hand") {
    const Agreement equal = agreement({1.0F, 0.0F, 0.0F, 1.0F}, {1.0F, 0.0F, 0.0F, 1.0F}, 2);
    CHECK(equal.max_abs == 0.0);
    CHECK(equal.min_cosine == 1.0);
    const Agreement turned = agreement({1.0F, 0.0F, 0.6F, 0.8F}, {1.0F, 0.0F, 0.0F, 1.0F}, 2);
    CHECK(turned.max_abs == doctest::Approx(0.6));
    CHECK(turned.min_cosine == doctest::Approx(0.8));
}

TEST_CASE("what is not a number agrees with nothing") {
    const float nan = std::nanf("");
    const float infinite = std::numeric_limits<float>::infinity();
    for (const std::vector<float>& found : {std::vector<float>{nan, 0.0F, 0.0F, 1.0F},
                                            {1.0F, 0.0F, 0.0F, nan},
                                            {1.0F, infinite, 0.0F, 1.0F},
                                            {0, 0, 0, 1}}) {
        const Agreement none = agreement(found, {1.0F, 0.0F, 0.0F, 1.0F}, 2);
        CHECK(std::isinf(none.max_abs));
        CHECK(none.min_cosine == -1.0);
    }
}

TEST_CASE("limits by precision") {
    const auto message = [](const char* precision, const Agreement& measured) {
        return error_of([&] { require_agreement({"image_encoder", "i.onnx", precision}, measured); });
    };
    CHECK(message("fp32", {1e-4, -1.0}).empty());
    CHECK(message("fp16", {9.0, 0.999}).empty());
    CHECK(message("int8", {9.0, 0.95}).empty());
    CHECK(message("fp32", {1.1e-4, 1.0}) ==
          "i.onnx (fp32) does not give the golden embeddings: largest difference 1.1e-04, smallest cosine 1.000000, "
          "expected a difference of at most 0.0001; nothing was timed; export the bundle again");
    CHECK(contains(message("fp16", {0.0, 0.9989}), "expected a cosine of at least 0.999"));
    CHECK(contains(message("int8", {0.0, 0.9499}), "expected a cosine of at least 0.95"));
    CHECK(contains(message("int4", {0.0, 1.0}), "precision int4"));
}
