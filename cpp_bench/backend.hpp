// What runs an encoder graph.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace sal {

enum class ElementType { kUint8, kFloat32 };

/// What an encoder takes and gives, but for the batch axis.
struct EncoderSpec {
    ElementType input_type;
    std::vector<std::int64_t> input_shape;  ///< of one row
    std::int64_t embedding_dim;

    std::size_t input_bytes() const {
        std::size_t bytes = input_type == ElementType::kUint8 ? 1 : sizeof(float);
        for (const std::int64_t axis : input_shape) {
            bytes *= static_cast<std::size_t>(axis);
        }
        return bytes;
    }
};

/// A loaded graph.
class Backend {
  public:
    virtual ~Backend() = default;

    /// Encode a batch from host memory to host memory; may be called from many threads.
    ///
    /// `input` holds `rows` rows of the spec's input, `embeddings` has room for `rows` * embedding_dim. Throws Error.
    virtual void run(const std::byte* input, std::size_t rows, float* embeddings) = 0;

    virtual std::string device() const = 0;  ///< cpu or cuda
    virtual std::string engine() const = 0;  ///< library and version, such as `onnxruntime 1.32.0`
};

}  // namespace sal
