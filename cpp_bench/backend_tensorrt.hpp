// A TensorRT engine of the image encoder; only where TensorRT's headers were found (SAL_WITH_TENSORRT).
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "backend.hpp"

namespace sal {

struct TensorRtEngine {
    std::string precision;  ///< as the sidecar states it
    std::unique_ptr<Backend> backend;
};

/// Load an engine after comparing its sha256 with its sidecar's (engine.plan: engine.json); an engine is executable
/// code, so nothing of it is touched before.
///
/// Throws Error if this build has no TensorRT, the hash differs, or the engine does not fit GPU, library or `spec`.
TensorRtEngine open_tensorrt(const std::filesystem::path& file, const EncoderSpec& spec);

}  // namespace sal
