#include "golden.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>

#include "errors.hpp"
#include "npz.hpp"

namespace sal {
namespace {

constexpr const char* kGolden = "golden.npz";

std::string shape_text(const std::vector<std::size_t>& shape) {
    std::string text;
    for (const std::size_t axis : shape) {
        text += (text.empty() ? "" : ", ") + std::to_string(axis);
    }
    return "[" + text + "]";
}

/// An array of golden.npz with elements of a type and with a number of axes, rows first, at least one row.
template <typename Element>
const std::vector<Element>& array_of(const std::map<std::string, NpyArray>& arrays, const std::string& where,
                                     const std::string& name, const std::vector<std::size_t>& row_shape) {
    const auto found = arrays.find(name);
    if (found == arrays.end()) {
        throw Error(where + " has no array " + name + "; export the bundle again");
    }
    const std::vector<std::size_t>& shape = found->second.shape;
    const auto* values = std::get_if<std::vector<Element>>(&found->second.values);
    const bool fits = shape.size() == row_shape.size() + 1 && shape[0] > 0 &&
                      std::equal(row_shape.begin(), row_shape.end(), shape.begin() + 1);
    if (values == nullptr || !fits) {
        throw Error(where + ": " + name + " is " + (values == nullptr ? "of another dtype, " : "") + shape_text(shape) +
                    ", expected " + (sizeof(Element) == 1 ? "uint8" : "float32") + " rows of " + shape_text(row_shape) +
                    "; export the bundle again");
    }
    return *values;
}

template <typename Element>
std::vector<std::byte> bytes_of(const std::vector<Element>& values) {
    std::vector<std::byte> bytes(values.size() * sizeof(Element));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
}

}  // namespace

std::map<std::string, GoldenVectors> read_golden(const Bundle& bundle) {
    const std::string where = "bundle " + bundle.path.string() + ": " + kGolden;
    const std::map<std::string, NpyArray> arrays = parse_npz(where, bundle.read(kGolden));
    const auto dim = static_cast<std::int64_t>(bundle.embedding_dim);
    const auto attributes_array = arrays.find("attributes");
    const std::size_t num_attributes = attributes_array != arrays.end() && attributes_array->second.shape.size() == 2
                                           ? attributes_array->second.shape[1]
                                           : 0;
    const std::vector<std::size_t> crop{bundle.image_height, bundle.image_width, 3};

    const auto& images = array_of<std::uint8_t>(arrays, where, "images", crop);
    const auto& attributes = array_of<std::uint8_t>(arrays, where, "attributes", {num_attributes});
    const auto& image_embeddings = array_of<float>(arrays, where, "image_embeddings", {bundle.embedding_dim});
    const auto& attribute_embeddings = array_of<float>(arrays, where, "attribute_embeddings", {bundle.embedding_dim});
    const EncoderSpec image_spec{ElementType::kUint8, {crop.begin(), crop.end()}, dim};
    const EncoderSpec attribute_spec{ElementType::kFloat32, {static_cast<std::int64_t>(num_attributes)}, dim};

    std::map<std::string, GoldenVectors> golden;
    golden[kImageRole] = {image_spec, image_embeddings.size() / bundle.embedding_dim, bytes_of(images),
                          image_embeddings};
    golden[kAttributeRole] = {attribute_spec, attribute_embeddings.size() / bundle.embedding_dim,
                              bytes_of(std::vector<float>(attributes.begin(), attributes.end())), attribute_embeddings};
    for (const auto& [role, vectors] : golden) {
        if (vectors.inputs.size() != vectors.rows * vectors.spec.input_bytes()) {
            throw Error(where + ": " + std::to_string(vectors.rows) +
                        " embeddings for another number of inputs of the " + role + "; export the bundle again");
        }
    }
    return golden;
}

std::vector<float> encode_golden(Backend& backend, const GoldenVectors& golden) {
    std::vector<float> embeddings(golden.embeddings.size());
    backend.run(golden.inputs.data(), golden.rows, embeddings.data());
    return embeddings;
}

Agreement agreement(const std::vector<float>& found, const std::vector<float>& expected, std::size_t dim) {
    Agreement result{0.0, 1.0};
    for (std::size_t row = 0; row < expected.size(); row += dim) {
        double product = 0.0;
        double found_squares = 0.0;
        double expected_squares = 0.0;
        for (std::size_t i = row; i < row + dim; ++i) {
            const double one = found[i];
            const double other = expected[i];
            result.max_abs = std::max(result.max_abs, std::abs(one - other));
            product += one * other;
            found_squares += one * one;
            expected_squares += other * other;
        }
        const double cosine = product / std::sqrt(found_squares * expected_squares);
        if (!std::isfinite(cosine)) {  // std::max and std::min pass over NaN
            return {std::numeric_limits<double>::infinity(), -1.0};
        }
        result.min_cosine = std::min(result.min_cosine, cosine);
    }
    return result;
}

void require_agreement(const Artefact& artefact, const Agreement& agreement) {
    constexpr double kMaxAbs = 1e-4;
    const std::map<std::string, double> min_cosine{{"fp16", 0.999}, {"int8", 0.95}};
    const auto limit = min_cosine.find(artefact.precision);
    if (limit == min_cosine.end() && artefact.precision != "fp32") {
        throw Error(artefact.file + ": precision " + artefact.precision +
                    ", expected fp32, fp16 or int8; update sal_bench");
    }
    const bool by_cosine = limit != min_cosine.end();
    if (by_cosine ? agreement.min_cosine < limit->second : agreement.max_abs > kMaxAbs) {
        char text[256];
        std::snprintf(text, sizeof text, "largest difference %.1e, smallest cosine %.6f, expected %s %g",
                      agreement.max_abs, agreement.min_cosine,
                      by_cosine ? "a cosine of at least" : "a difference of at most",
                      by_cosine ? limit->second : kMaxAbs);
        throw Error(artefact.file + " (" + artefact.precision + ") does not give the golden embeddings: " + text +
                    "; nothing was timed; export the bundle again");
    }
}

}  // namespace sal
