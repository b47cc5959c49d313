// The bundle's golden vectors: inputs with the embeddings that PyTorch gave them. Checked before anything is timed.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "backend.hpp"
#include "bundle.hpp"

namespace sal {

/// Golden vectors of one role.
struct GoldenVectors {
    EncoderSpec spec;
    std::size_t rows;
    std::vector<std::byte> inputs;  ///< as the encoder takes them
    std::vector<float> embeddings;  ///< [rows, d], of PyTorch in fp32
};

/// How far found embeddings are from golden ones.
struct Agreement {
    double max_abs;     ///< largest difference of a coordinate; infinite if one of them is not a number
    double min_cosine;  ///< smallest cosine of a row; -1 if a coordinate is not a number
};

/// Golden vectors by role.
///
/// Throws Error if golden.npz cannot be read, or does not hold what the manifest says.
std::map<std::string, GoldenVectors> read_golden(const Bundle& bundle);

/// The embeddings float32 [rows, d] that a backend gives to the golden inputs.
std::vector<float> encode_golden(Backend& backend, const GoldenVectors& golden);

/// `found` and `expected` are [n, dim], n at least 1.
Agreement agreement(const std::vector<float>& found, const std::vector<float>& expected, std::size_t dim);

/// Throws Error outside the limits: max_abs 1e-4 for fp32, min_cosine 0.999 for fp16 and 0.95 for int8 (drawn crops are
/// far from the photographs on which int8 was calibrated); or for another precision.
void require_agreement(const Artefact& artefact, const Agreement& agreement);

}  // namespace sal
