// In place of backend_tensorrt.cpp where TensorRT's headers were not found.
#include "backend_tensorrt.hpp"
#include "errors.hpp"

namespace sal {

std::unique_ptr<Backend> open_tensorrt(const EngineFile& engine, const EncoderSpec&) {
    throw Error(engine.name +
                ": this sal_bench was built without TensorRT; install its headers and build with "
                "-DSAL_WITH_TENSORRT=ON");
}

}  // namespace sal
