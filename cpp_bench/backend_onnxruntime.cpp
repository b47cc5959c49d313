#include "backend_onnxruntime.hpp"

#include <dlfcn.h>
#include <glob.h>

#include <cstdlib>
#include <utility>

#include "errors.hpp"
#include "int8_products.hpp"
#include "onnxruntime_calls.hpp"

namespace sal {
namespace {

constexpr const char* kWheel = "/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*";

std::string shape_text(const std::vector<std::int64_t>& shape) {
    std::string text;
    for (const std::int64_t axis : shape) {
        text += (text.empty() ? "" : ", ") + (axis < 0 ? "N" : std::to_string(axis));
    }
    return "[" + text + "]";
}

std::vector<std::int64_t> with_batch_axis(std::int64_t rows, const std::vector<std::int64_t>& row_shape) {
    std::vector<std::int64_t> shape{rows};
    shape.insert(shape.end(), row_shape.begin(), row_shape.end());
    return shape;
}

class OnnxBackend final : public Backend {
  public:
    OnnxBackend(const ort::Api& api, Owned<ort::Session> session, std::string name, EncoderSpec spec,
                std::string version)
        : api_(api),
          session_(std::move(session)),
          memory_(nullptr, api.ReleaseMemoryInfo),
          name_(std::move(name)),
          spec_(std::move(spec)),
          version_(std::move(version)) {
        ort::MemoryInfo* memory = nullptr;
        check(api_, name_, api_.CreateCpuMemoryInfo(ort::kDeviceAllocator, ort::kDefaultMemory, &memory));
        memory_.reset(memory);
        check_fits();
    }

    void run(const std::byte* input, std::size_t rows, float* embeddings) override {
        const auto count = static_cast<std::int64_t>(rows);
        // the C API takes inputs as mutable memory, and only reads them
        const Owned<ort::Value> source = tensor(const_cast<std::byte*>(input), rows * spec_.input_bytes(),
                                                element_type(), with_batch_axis(count, spec_.input_shape));
        const Owned<ort::Value> target =
            tensor(embeddings, rows * static_cast<std::size_t>(spec_.embedding_dim) * sizeof(float),
                   ort::kElementFloat32, {count, spec_.embedding_dim});
        const char* input_name = input_name_.c_str();
        const char* output_name = output_name_.c_str();
        const ort::Value* inputs[] = {source.get()};
        ort::Value* outputs[] = {target.get()};
        check(api_, name_, api_.Run(session_.get(), nullptr, &input_name, inputs, 1, &output_name, 1, outputs));
    }

    std::string device() const override { return "cpu"; }
    std::string engine() const override { return "onnxruntime " + version_; }

  private:
    ort::TensorElementType element_type() const {
        return spec_.input_type == ElementType::kUint8 ? ort::kElementUint8 : ort::kElementFloat32;
    }

    Owned<ort::Value> tensor(void* data, std::size_t bytes, ort::TensorElementType type,
                             const std::vector<std::int64_t>& shape) const {
        ort::Value* value = nullptr;
        check(
            api_, name_,
            api_.CreateTensorWithDataAsOrtValue(memory_.get(), data, bytes, shape.data(), shape.size(), type, &value));
        return {value, api_.ReleaseValue};
    }

    /// One input and one output of the expected types and shapes, with a free batch axis; keeps their names.
    void check_fits() {
        std::size_t inputs = 0;
        std::size_t outputs = 0;
        check(api_, name_, api_.SessionGetInputCount(session_.get(), &inputs));
        check(api_, name_, api_.SessionGetOutputCount(session_.get(), &outputs));
        if (inputs != 1 || outputs != 1) {
            throw Error(name_ + ": " + std::to_string(inputs) + " inputs and " + std::to_string(outputs) +
                        " outputs, expected one of each; export the bundle again");
        }
        input_name_ = port_name(api_.SessionGetInputName);
        output_name_ = port_name(api_.SessionGetOutputName);
        check_port("input", api_.SessionGetInputTypeInfo, element_type(), with_batch_axis(-1, spec_.input_shape));
        check_port("output", api_.SessionGetOutputTypeInfo, ort::kElementFloat32, {-1, spec_.embedding_dim});
    }

    std::string port_name(decltype(ort::Api::SessionGetInputName) get) const {
        ort::Allocator* allocator = nullptr;
        char* text = nullptr;
        check(api_, name_, api_.GetAllocatorWithDefaultOptions(&allocator));
        check(api_, name_, get(session_.get(), 0, allocator, &text));
        std::string name = text;
        check(api_, name_, api_.AllocatorFree(allocator, text));
        return name;
    }

    void check_port(const std::string& port, decltype(ort::Api::SessionGetInputTypeInfo) get,
                    ort::TensorElementType expected_type, const std::vector<std::int64_t>& expected_shape) const {
        ort::TypeInfo* type_info = nullptr;
        check(api_, name_, get(session_.get(), 0, &type_info));
        const Owned<ort::TypeInfo> owner(type_info, api_.ReleaseTypeInfo);
        const ort::TensorTypeAndShapeInfo* tensor_info = nullptr;  // part of type_info; null for what is no tensor
        check(api_, name_, api_.CastTypeInfoToTensorInfo(type_info, &tensor_info));
        if (tensor_info == nullptr) {
            throw Error(name_ + ": its " + port + " is no tensor; export the bundle again");
        }
        ort::TensorElementType type{};
        std::size_t num_axes = 0;
        check(api_, name_, api_.GetTensorElementType(tensor_info, &type));
        check(api_, name_, api_.GetDimensionsCount(tensor_info, &num_axes));
        std::vector<std::int64_t> shape(num_axes);
        check(api_, name_, api_.GetDimensions(tensor_info, shape.data(), num_axes));
        if (type != expected_type || shape != expected_shape) {
            throw Error(name_ + ": " + port + " is element type " + std::to_string(type) + " " + shape_text(shape) +
                        ", expected " + std::to_string(expected_type) + " " + shape_text(expected_shape) +
                        "; export the bundle again");
        }
    }

    const ort::Api& api_;
    Owned<ort::Session> session_;
    Owned<ort::MemoryInfo> memory_;
    std::string name_;
    EncoderSpec spec_;
    std::string version_;
    std::string input_name_;
    std::string output_name_;
};

}  // namespace

std::filesystem::path find_onnxruntime(const std::string& named) {
    if (!named.empty()) {
        return named;
    }
    if (const char* variable = std::getenv("SAL_ONNXRUNTIME"); variable != nullptr && *variable != '\0') {
        return variable;
    }
    std::string looked = "no virtual environment is active";
    if (const char* environment = std::getenv("VIRTUAL_ENV"); environment != nullptr && *environment != '\0') {
        const std::string pattern = std::string(environment) + kWheel;
        glob_t found{};
        const bool any = glob(pattern.c_str(), 0, nullptr, &found) == 0;
        const std::string first = any ? found.gl_pathv[0] : "";
        globfree(&found);
        if (any) {
            return first;
        }
        looked = "nothing matches " + pattern;
    }
    throw Error("ONNX Runtime not found: neither --onnxruntime nor $SAL_ONNXRUNTIME is given and " + looked +
                "; give its libonnxruntime.so.*, or activate the virtual environment it is installed in");
}

OnnxRuntime::OnnxRuntime(const std::filesystem::path& library) {
    // ONNX Runtime reports the machine to its maker from the moment it is loaded, unless this is set
    setenv("ORT_DISABLE_TELEMETRY", "1", /*overwrite=*/0);
    // never closed: its thread pools may still be winding down when the last session is gone
    void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
        throw Error(std::string("ONNX Runtime cannot be loaded: ") + dlerror());
    }
    const auto get_base = reinterpret_cast<const ort::ApiBase* (*)()>(dlsym(handle, "OrtGetApiBase"));
    if (get_base == nullptr) {
        throw Error(library.string() + " is not ONNX Runtime (it has no OrtGetApiBase); name libonnxruntime.so.*");
    }
    version_ = get_base()->GetVersionString();
    api_ = get_base()->GetApi(ort::kApiVersion);
    if (api_ == nullptr) {
        throw Error(library.string() + " is ONNX Runtime " + version_ + ", expected 1." +
                    std::to_string(ort::kApiVersion) + " or later; pip install --upgrade onnxruntime");
    }
    check(*api_, "ONNX Runtime", api_->CreateEnv(ort::kLogErrors, "sal_bench", &env_));
    int8_saturates_ = int8_saturates(*api_, env_);
}

OnnxRuntime::~OnnxRuntime() {
    api_->ReleaseEnv(env_);
}

std::unique_ptr<Backend> OnnxRuntime::open(const std::string& name, const std::string& model, const EncoderSpec& spec,
                                           int threads) const {
    ort::SessionOptions* made = nullptr;
    check(*api_, name, api_->CreateSessionOptions(&made));
    const Owned<ort::SessionOptions> options(made, api_->ReleaseSessionOptions);
    check(*api_, name, api_->SetSessionLogSeverityLevel(made, ort::kLogErrors));
    check(*api_, name, api_->SetIntraOpNumThreads(made, threads));
    check(*api_, name, api_->AddSessionConfigEntry(made, "session.intra_op.allow_spinning", "0"));
    if (int8_saturates_) {  // exact, and half as fast on a processor where the fast product is exact, too
        check(*api_, name, api_->AddSessionConfigEntry(made, "session.x64quantprecision", "1"));
    }
    ort::Session* session = nullptr;
    check(*api_, name, api_->CreateSessionFromArray(env_, model.data(), model.size(), made, &session));
    return std::make_unique<OnnxBackend>(*api_, Owned<ort::Session>(session, api_->ReleaseSession), name, spec,
                                         version_);
}

}  // namespace sal
