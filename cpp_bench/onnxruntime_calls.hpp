// Calls of ONNX Runtime's C interface: errors become exceptions, objects have owners.
#pragma once

#include <memory>
#include <string>

#include "errors.hpp"
#include "onnxruntime_api.hpp"

namespace sal {

/// Throws Error with the first line of the message where a call failed.
inline void check(const ort::Api& api, const std::string& what, ort::Status* status) {
    if (status != nullptr) {
        std::string message = api.GetErrorMessage(status);
        api.ReleaseStatus(status);
        throw Error(what + ": " + message.substr(0, message.find('\n')));
    }
}

template <typename T>
using Owned = std::unique_ptr<T, void (*)(T*)>;

}  // namespace sal
