// Products of int8 in ONNX Runtime: exact on every processor, and fast where the fast ones are exact.
#pragma once

#include "onnxruntime_api.hpp"

namespace sal {

/// Whether ONNX Runtime's fast product of int8 is wrong on this processor, by one convolution of the largest numbers.
///
/// As sal_runtime/engines/int8_products.py: without VNNI, x86 adds pairs of products in 16 bits, which saturate.
bool int8_saturates(const ort::Api& api, const ort::Env* env);

}  // namespace sal
