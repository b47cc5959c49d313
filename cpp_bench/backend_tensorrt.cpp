// TensorRT 10 and 11. Compiled only where their headers are found, which no package for CI offers: see README.md.
#include "backend_tensorrt.hpp"

#include <NvInfer.h>
#include <cuda_runtime_api.h>

#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "errors.hpp"

#if NV_TENSORRT_MAJOR < 10
#error "TensorRT 10 or later is needed: tensors by name, 64-bit dimensions, enqueueV3"
#endif

namespace sal {
namespace {

void check(cudaError_t status, const char* what) {
    if (status != cudaSuccess) {
        throw Error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(status));
    }
}

/// Keeps the last error, so that what goes wrong can be said in one line.
class Logger final : public nvinfer1::ILogger {
  public:
    void log(Severity severity, const char* message) noexcept override {
        if (severity <= Severity::kERROR) {
            const std::lock_guard<std::mutex> guard(mutex_);
            last_error_ = message;
        }
    }

    std::string last_error() {
        const std::lock_guard<std::mutex> guard(mutex_);
        return last_error_.empty() ? "no reason given" : last_error_;
    }

  private:
    std::mutex mutex_;
    std::string last_error_;
};

class DeviceMemory {
  public:
    explicit DeviceMemory(std::size_t bytes) { check(cudaMalloc(&address_, bytes), "cudaMalloc"); }
    ~DeviceMemory() { cudaFree(address_); }
    DeviceMemory(const DeviceMemory&) = delete;
    DeviceMemory& operator=(const DeviceMemory&) = delete;
    void* get() const { return address_; }

  private:
    void* address_ = nullptr;
};

class Stream {
  public:
    Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate"); }
    ~Stream() { cudaStreamDestroy(stream_); }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    cudaStream_t get() const { return stream_; }

  private:
    cudaStream_t stream_ = nullptr;
};

/// What one run needs for itself.
struct Lane {
    std::unique_ptr<nvinfer1::IExecutionContext> context;
    Stream stream;
    std::size_t rows = 0;
    std::unique_ptr<DeviceMemory> input;
    std::unique_ptr<DeviceMemory> output;
};

class TensorRtBackend final : public Backend {
  public:
    TensorRtBackend(std::string name, const std::string& plan, EncoderSpec spec)
        : name_(std::move(name)), spec_(std::move(spec)), runtime_(nvinfer1::createInferRuntime(logger_)) {
        if (runtime_ != nullptr) {
            engine_.reset(runtime_->deserializeCudaEngine(plan.data(), plan.size()));
        }
        if (engine_ == nullptr) {
            fail("cannot be loaded; build it again on this machine");
        }
        check_fits();
    }

    void run(const std::byte* input, std::size_t rows, float* embeddings) override {
        std::unique_ptr<Lane> lane = take_lane();
        prepare(*lane, rows);
        const cudaStream_t stream = lane->stream.get();
        check(cudaMemcpyAsync(lane->input->get(), input, rows * spec_.input_bytes(), cudaMemcpyHostToDevice, stream),
              "copy to the GPU");
        if (!lane->context->enqueueV3(stream)) {
            fail("does not run");
        }
        check(cudaMemcpyAsync(embeddings, lane->output->get(), rows * output_bytes(), cudaMemcpyDeviceToHost, stream),
              "copy from the GPU");
        check(cudaStreamSynchronize(stream), "run");
        const std::lock_guard<std::mutex> guard(mutex_);
        idle_.push_back(std::move(lane));
    }

    std::string device() const override { return "cuda"; }

    std::string engine() const override {
        const int version = getInferLibVersion();  // 101300 is 10.13.0
        return "tensorrt " + std::to_string(version / 10'000) + "." + std::to_string(version / 100 % 100) + "." +
               std::to_string(version % 100);
    }

  private:
    [[noreturn]] void fail(const std::string& what) {
        throw Error(name_ + ": the engine " + what + " (" + logger_.last_error() + ")");
    }

    std::size_t output_bytes() const { return static_cast<std::size_t>(spec_.embedding_dim) * sizeof(float); }

    nvinfer1::Dims shape_of(std::int64_t rows, const std::vector<std::int64_t>& row_shape) const {
        nvinfer1::Dims shape{};
        shape.nbDims = static_cast<std::int32_t>(1 + row_shape.size());
        shape.d[0] = rows;
        for (std::size_t axis = 0; axis < row_shape.size(); ++axis) {
            shape.d[1 + axis] = row_shape[axis];
        }
        return shape;
    }

    /// One input and one output of the expected types and shapes, with a free batch axis; keeps their names.
    void check_fits() {
        for (std::int32_t index = 0; index < engine_->getNbIOTensors(); ++index) {
            const char* tensor = engine_->getIOTensorName(index);
            const bool is_input = engine_->getTensorIOMode(tensor) == nvinfer1::TensorIOMode::kINPUT;
            const bool is_uint8 = is_input && spec_.input_type == ElementType::kUint8;
            const nvinfer1::Dims expected =
                is_input ? shape_of(-1, spec_.input_shape) : shape_of(-1, {spec_.embedding_dim});
            const nvinfer1::Dims found = engine_->getTensorShape(tensor);
            bool fits = found.nbDims == expected.nbDims &&
                        engine_->getTensorDataType(tensor) ==
                            (is_uint8 ? nvinfer1::DataType::kUINT8 : nvinfer1::DataType::kFLOAT);
            for (std::int32_t axis = 0; fits && axis < expected.nbDims; ++axis) {
                fits = found.d[axis] == expected.d[axis];
            }
            std::string& name = is_input ? input_name_ : output_name_;
            if (!fits || !name.empty()) {
                throw Error(name_ + ": tensor " + tensor + " does not fit the bundle; build the engine from it again");
            }
            name = tensor;
        }
        if (input_name_.empty() || output_name_.empty()) {
            throw Error(name_ + ": expected one input and one output; build the engine from the bundle again");
        }
    }

    std::unique_ptr<Lane> take_lane() {
        const std::lock_guard<std::mutex> guard(mutex_);
        if (!idle_.empty()) {
            std::unique_ptr<Lane> lane = std::move(idle_.back());
            idle_.pop_back();
            return lane;
        }
        auto lane = std::make_unique<Lane>();
        lane->context.reset(engine_->createExecutionContext());
        if (lane->context == nullptr) {
            fail("gives no execution context");
        }
        return lane;
    }

    void prepare(Lane& lane, std::size_t rows) {
        if (lane.rows == rows) {
            return;
        }
        lane.rows = 0;
        lane.input = std::make_unique<DeviceMemory>(rows * spec_.input_bytes());
        lane.output = std::make_unique<DeviceMemory>(rows * output_bytes());
        if (!lane.context->setInputShape(input_name_.c_str(),
                                         shape_of(static_cast<std::int64_t>(rows), spec_.input_shape)) ||
            !lane.context->setTensorAddress(input_name_.c_str(), lane.input->get()) ||
            !lane.context->setTensorAddress(output_name_.c_str(), lane.output->get())) {
            fail("does not take a batch of " + std::to_string(rows) + "; build it for larger batches");
        }
        lane.rows = rows;
    }

    std::string name_;
    EncoderSpec spec_;
    Logger logger_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::string input_name_;
    std::string output_name_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<Lane>> idle_;
};

}  // namespace

std::unique_ptr<Backend> open_tensorrt(const EngineFile& engine, const EncoderSpec& spec) {
    return std::make_unique<TensorRtBackend>(engine.name, engine.plan, spec);
}

}  // namespace sal
