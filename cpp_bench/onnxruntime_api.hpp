// The part of ONNX Runtime's C API that the bench calls, declared by hand: no package for Python, Node or Debian ships
// onnxruntime_c_api.h beside the library.
//
// OrtApi is a table of function pointers to which versions only append, so a member's place is part of the binary
// interface. Unused members are skipped by count, and the places of the used ones are asserted below;
// tests/cpp_bench runs all of them against the installed library.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sal::ort {

struct Env;
struct Status;
struct MemoryInfo;
struct Session;
struct Value;
struct RunOptions;
struct TypeInfo;
struct TensorTypeAndShapeInfo;
struct SessionOptions;
struct Allocator;

enum LoggingLevel : int { kLogErrors = 3 };                               // OrtLoggingLevel
enum TensorElementType : int { kElementFloat32 = 1, kElementUint8 = 2 };  // ONNXTensorElementDataType
enum AllocatorType : int { kDeviceAllocator = 0 };                        // OrtAllocatorType
enum MemoryType : int { kDefaultMemory = 0 };                             // OrtMemType

/// ONNX Runtime 1.20, the oldest that sal supports; the members below are older.
constexpr std::uint32_t kApiVersion = 20;

using Skipped = void (*)();

struct Api {
    Skipped skipped_0[2];
    const char* (*GetErrorMessage)(const Status*);
    Status* (*CreateEnv)(LoggingLevel, const char* log_id, Env**);
    Skipped skipped_4[4];
    Status* (*CreateSessionFromArray)(const Env*, const void* model, std::size_t bytes, const SessionOptions*,
                                      Session**);
    Status* (*Run)(Session*, const RunOptions*, const char* const* input_names, const Value* const* inputs,
                   std::size_t num_inputs, const char* const* output_names, std::size_t num_outputs, Value** outputs);
    Status* (*CreateSessionOptions)(SessionOptions**);
    Skipped skipped_11[11];
    Status* (*SetSessionLogSeverityLevel)(SessionOptions*, int);
    Skipped skipped_23[1];
    Status* (*SetIntraOpNumThreads)(SessionOptions*, int);
    Skipped skipped_25[5];
    Status* (*SessionGetInputCount)(const Session*, std::size_t*);
    Status* (*SessionGetOutputCount)(const Session*, std::size_t*);
    Skipped skipped_32[1];
    Status* (*SessionGetInputTypeInfo)(const Session*, std::size_t index, TypeInfo**);
    Status* (*SessionGetOutputTypeInfo)(const Session*, std::size_t index, TypeInfo**);
    Skipped skipped_35[1];
    Status* (*SessionGetInputName)(const Session*, std::size_t index, Allocator*, char**);
    Status* (*SessionGetOutputName)(const Session*, std::size_t index, Allocator*, char**);
    Skipped skipped_38[11];
    Status* (*CreateTensorWithDataAsOrtValue)(const MemoryInfo*, void* data, std::size_t bytes,
                                              const std::int64_t* shape, std::size_t num_axes, TensorElementType,
                                              Value**);
    Skipped skipped_50[5];
    Status* (*CastTypeInfoToTensorInfo)(const TypeInfo*, const TensorTypeAndShapeInfo**);
    Skipped skipped_56[4];
    Status* (*GetTensorElementType)(const TensorTypeAndShapeInfo*, TensorElementType*);
    Status* (*GetDimensionsCount)(const TensorTypeAndShapeInfo*, std::size_t*);
    Status* (*GetDimensions)(const TensorTypeAndShapeInfo*, std::int64_t*, std::size_t num_axes);
    Skipped skipped_63[6];
    Status* (*CreateCpuMemoryInfo)(AllocatorType, MemoryType, MemoryInfo**);
    Skipped skipped_70[6];
    Status* (*AllocatorFree)(Allocator*, void*);
    Skipped skipped_77[1];
    Status* (*GetAllocatorWithDefaultOptions)(Allocator**);
    Skipped skipped_79[13];
    void (*ReleaseEnv)(Env*);
    void (*ReleaseStatus)(Status*);
    void (*ReleaseMemoryInfo)(MemoryInfo*);
    void (*ReleaseSession)(Session*);
    void (*ReleaseValue)(Value*);
    Skipped skipped_97[1];
    void (*ReleaseTypeInfo)(TypeInfo*);
    Skipped skipped_99[1];
    void (*ReleaseSessionOptions)(SessionOptions*);
    Skipped skipped_101[29];
    Status* (*AddSessionConfigEntry)(SessionOptions*, const char* key, const char* value);
};

struct ApiBase {
    const Api* (*GetApi)(std::uint32_t version);  ///< nullptr where the library is older than the version
    const char* (*GetVersionString)();
};

#define SAL_ASSERT_PLACE(member, place) static_assert(offsetof(Api, member) == (place) * sizeof(Skipped), #member)
SAL_ASSERT_PLACE(GetErrorMessage, 2);
SAL_ASSERT_PLACE(CreateEnv, 3);
SAL_ASSERT_PLACE(CreateSessionFromArray, 8);
SAL_ASSERT_PLACE(Run, 9);
SAL_ASSERT_PLACE(CreateSessionOptions, 10);
SAL_ASSERT_PLACE(SetSessionLogSeverityLevel, 22);
SAL_ASSERT_PLACE(SetIntraOpNumThreads, 24);
SAL_ASSERT_PLACE(SessionGetInputCount, 30);
SAL_ASSERT_PLACE(SessionGetOutputCount, 31);
SAL_ASSERT_PLACE(SessionGetInputTypeInfo, 33);
SAL_ASSERT_PLACE(SessionGetOutputTypeInfo, 34);
SAL_ASSERT_PLACE(SessionGetInputName, 36);
SAL_ASSERT_PLACE(SessionGetOutputName, 37);
SAL_ASSERT_PLACE(CreateTensorWithDataAsOrtValue, 49);
SAL_ASSERT_PLACE(CastTypeInfoToTensorInfo, 55);
SAL_ASSERT_PLACE(GetTensorElementType, 60);
SAL_ASSERT_PLACE(GetDimensionsCount, 61);
SAL_ASSERT_PLACE(GetDimensions, 62);
SAL_ASSERT_PLACE(CreateCpuMemoryInfo, 69);
SAL_ASSERT_PLACE(AllocatorFree, 76);
SAL_ASSERT_PLACE(GetAllocatorWithDefaultOptions, 78);
SAL_ASSERT_PLACE(ReleaseEnv, 92);
SAL_ASSERT_PLACE(ReleaseStatus, 93);
SAL_ASSERT_PLACE(ReleaseMemoryInfo, 94);
SAL_ASSERT_PLACE(ReleaseSession, 95);
SAL_ASSERT_PLACE(ReleaseValue, 96);
SAL_ASSERT_PLACE(ReleaseTypeInfo, 98);
SAL_ASSERT_PLACE(ReleaseSessionOptions, 100);
SAL_ASSERT_PLACE(AddSessionConfigEntry, 130);
#undef SAL_ASSERT_PLACE

}  // namespace sal::ort
