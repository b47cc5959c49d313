// ONNX Runtime on the CPU, found at run time.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "backend.hpp"
#include "onnxruntime_api.hpp"

namespace sal {

/// The library: `named` (from --onnxruntime), else $SAL_ONNXRUNTIME, else the wheel in the active virtual environment.
///
/// Throws Error if there is none; says where it looked.
std::filesystem::path find_onnxruntime(const std::string& named);

/// A loaded library with its environment; must outlive the backends it opens.
class OnnxRuntime {
  public:
    /// Throws Error if the file cannot be loaded, is another library, or is older than 1.20.
    explicit OnnxRuntime(const std::filesystem::path& library);
    ~OnnxRuntime();
    OnnxRuntime(const OnnxRuntime&) = delete;
    OnnxRuntime& operator=(const OnnxRuntime&) = delete;

    const std::string& version() const { return version_; }

    /// Load an ONNX graph in a session with the settings of sal_runtime (no spinning threads).
    ///
    /// `threads` is of one run; `name` is named in errors. Throws Error if the graph is unusable or does not fit
    /// `spec`.
    std::unique_ptr<Backend> open(const std::string& name, const std::string& model, const EncoderSpec& spec,
                                  int threads) const;

  private:
    const ort::Api* api_ = nullptr;
    ort::Env* env_ = nullptr;
    bool int8_saturates_ = false;
    std::string version_;
};

}  // namespace sal
