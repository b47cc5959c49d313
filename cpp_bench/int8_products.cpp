#include "int8_products.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include "onnxruntime_calls.hpp"
#include "saturating_model.hpp"

namespace sal {

bool int8_saturates(const ort::Api& api, const ort::Env* env) {
    const std::string name = "the test of int8";
    ort::SessionOptions* made = nullptr;
    check(api, name, api.CreateSessionOptions(&made));
    const Owned<ort::SessionOptions> options(made, api.ReleaseSessionOptions);
    ort::Session* opened = nullptr;
    check(api, name, api.CreateSessionFromArray(env, kSaturatingModel, sizeof kSaturatingModel, made, &opened));
    const Owned<ort::Session> session(opened, api.ReleaseSession);
    ort::MemoryInfo* found = nullptr;
    check(api, name, api.CreateCpuMemoryInfo(ort::kDeviceAllocator, ort::kDefaultMemory, &found));
    const Owned<ort::MemoryInfo> memory(found, api.ReleaseMemoryInfo);
    std::array<std::uint8_t, 64 * 4 * 4> images{};
    images.fill(255);
    std::array<std::uint8_t, 4 * 4> means{};
    const auto tensor = [&](auto& data, std::int64_t channels) {
        const std::array<std::int64_t, 4> shape{1, channels, 4, 4};
        ort::Value* value = nullptr;
        check(api, name,
              api.CreateTensorWithDataAsOrtValue(memory.get(), data.data(), data.size(), shape.data(), shape.size(),
                                                 ort::kElementUint8, &value));
        return Owned<ort::Value>(value, api.ReleaseValue);
    };
    const Owned<ort::Value> source = tensor(images, 64);
    const Owned<ort::Value> target = tensor(means, 1);
    const char* input_name = "images";
    const char* output_name = "means";
    const ort::Value* inputs[] = {source.get()};
    ort::Value* outputs[] = {target.get()};
    check(api, name, api.Run(session.get(), nullptr, &input_name, inputs, 1, &output_name, 1, outputs));
    return *std::max_element(means.begin(), means.end()) < 255;
}

}  // namespace sal
