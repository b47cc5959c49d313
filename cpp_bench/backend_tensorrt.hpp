// TensorRT; only where its headers were found (SAL_WITH_TENSORRT).
#pragma once

#include <memory>

#include "backend.hpp"
#include "engine_file.hpp"

namespace sal {

/// Load an engine of the image encoder.
///
/// Throws Error if this build has no TensorRT, or the engine does not fit GPU, library or `spec`.
std::unique_ptr<Backend> open_tensorrt(const EngineFile& engine, const EncoderSpec& spec);

}  // namespace sal
