// In place of backend_tensorrt.cpp where TensorRT's headers were not found.
#include "backend_tensorrt.hpp"
#include "errors.hpp"

namespace sal {

TensorRtEngine open_tensorrt(const std::filesystem::path& file, const EncoderSpec&) {
    throw Error("--engine " + file.string() +
                ": this sal_bench was built without TensorRT; install its headers and build with "
                "-DSAL_WITH_TENSORRT=ON");
}

}  // namespace sal
