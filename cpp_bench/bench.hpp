// What is timed, and in which order.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "backend.hpp"
#include "bundle.hpp"
#include "report.hpp"

namespace sal {

/// A loaded encoder with the number of threads of one run.
struct OpenEncoder {
    Artefact artefact;
    EncoderSpec spec;
    std::size_t threads;
    std::shared_ptr<Backend> backend;
};

/// Random rows as an encoder takes them, always the same: bytes, or float32 of 0 and 1.
std::vector<std::byte> random_batch(const EncoderSpec& spec, std::size_t rows);

/// Time one encoder.
EncoderRow time_encoder(const OpenEncoder& encoder, std::size_t batch, std::size_t streams,
                        const TimingSettings& settings);

/// Unit vectors float32 [count, dim], random and always the same for a seed.
std::vector<float> random_unit_vectors(std::size_t count, std::size_t dim, unsigned seed);

/// Time exact search among random unit vectors, float32 [items, dim].
SearchRow time_search(const std::vector<float>& gallery, std::size_t dim, std::size_t queries, std::size_t threads,
                      const TimingSettings& settings);

}  // namespace sal
