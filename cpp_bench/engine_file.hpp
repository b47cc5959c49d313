// A TensorRT engine as sal's engine store keeps it: engine.plan, with its record engine.json beside it.
#pragma once

#include <filesystem>
#include <string>

namespace sal {

struct EngineFile {
    std::string name;       ///< of the file
    std::string precision;  ///< as the record states it
    std::string plan;       ///< the serialised engine
};

/// Read an engine and compare it with the sha256 in its record (the same path with .json); an engine is executable
/// code, so nothing else may be given to TensorRT.
///
/// Throws Error if one of the two is missing, or they do not belong together.
EngineFile read_engine(const std::filesystem::path& path);

}  // namespace sal
