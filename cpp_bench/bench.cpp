#include "bench.hpp"

#include <cmath>
#include <cstring>
#include <random>

#include "top_k.hpp"

namespace sal {
namespace {

constexpr std::size_t kBest = 10;

}  // namespace

std::vector<std::byte> random_batch(const EncoderSpec& spec, std::size_t rows) {
    std::minstd_rand random(1);
    std::vector<std::byte> batch(rows * spec.input_bytes());
    if (spec.input_type == ElementType::kUint8) {
        for (std::byte& value : batch) {
            value = static_cast<std::byte>(random() >> 8 & 255);
        }
        return batch;
    }
    for (std::size_t at = 0; at < batch.size(); at += sizeof(float)) {
        const float value = (random() >> 8 & 1) != 0 ? 1.0F : 0.0F;
        std::memcpy(batch.data() + at, &value, sizeof value);
    }
    return batch;
}

EncoderRow time_encoder(const OpenEncoder& encoder, std::size_t batch, std::size_t streams,
                        const TimingSettings& settings) {
    const std::vector<std::byte> input = random_batch(encoder.spec, batch);
    const auto dim = static_cast<std::size_t>(encoder.spec.embedding_dim);
    std::vector<std::vector<float>> embeddings(streams, std::vector<float>(batch * dim));
    Timing timing = time_runs(streams, settings, [&](std::size_t stream) {
        encoder.backend->run(input.data(), batch, embeddings[stream].data());
    });
    return {encoder.artefact.file,
            encoder.artefact.precision,
            encoder.backend->device(),
            encoder.backend->engine(),
            batch,
            encoder.threads,
            streams,
            std::move(timing)};
}

std::vector<float> random_unit_vectors(std::size_t count, std::size_t dim, unsigned seed) {
    std::minstd_rand random(seed);
    std::uniform_real_distribution<float> uniform(-1.0F, 1.0F);
    std::vector<float> vectors(count * dim);
    for (std::size_t row = 0; row < vectors.size(); row += dim) {
        float squares = 0.0F;
        for (std::size_t i = row; i < row + dim; ++i) {
            vectors[i] = uniform(random);
            squares += vectors[i] * vectors[i];
        }
        const float scale = 1.0F / std::sqrt(squares);
        for (std::size_t i = row; i < row + dim; ++i) {
            vectors[i] *= scale;
        }
    }
    return vectors;
}

SearchRow time_search(const std::vector<float>& gallery, std::size_t dim, std::size_t queries, std::size_t threads,
                      const TimingSettings& settings) {
    const std::vector<float> asked = random_unit_vectors(queries, dim, 2);
    const Rows query_rows{asked.data(), queries, dim};
    const Rows gallery_rows{gallery.data(), gallery.size() / dim, dim};
    Timing timing = time_runs(1, settings, [&](std::size_t) { top_k(query_rows, gallery_rows, kBest, threads); });
    return {gallery_rows.count, dim, queries, kBest, threads, std::move(timing)};
}

}  // namespace sal
