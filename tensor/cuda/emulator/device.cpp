// The emulated device as the runtime API shows it: errors, properties, memory, copies.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string_view>

#include <gradus/tensor/check.h>
#include "tensor/cuda/emulator/memory.h"
#include "tensor/cuda/emulator/scheduler.h"
#include "tensor/cuda/emulator/stream.h"

using namespace gradus::cuda::emulator;

namespace gradus::cuda::emulator {
namespace {

constexpr int cuda_version = 13000;
constexpr int multiprocessors = 4;
constexpr int l2_bytes = 1 << 20;  // small, so that chunked algorithms take several chunks
constexpr int capability_major = 8, capability_minor = 0;

/// What is wrong with the machine, for tests of what a user is told then: the environment has
/// GRADUS_EMULATOR_DEVICE = no-driver, old-driver, no-gpu or old-gpu.
bool pretends(std::string_view fault) {
  const char* text = std::getenv("GRADUS_EMULATOR_DEVICE");
  return text != nullptr && text == fault;
}

/// Faults unless both ends lie where `kind` says.
void check_copy(const void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  const DeviceMemory& memory = DeviceMemory::instance();
  const bool any = kind == cudaMemcpyDefault;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  const auto check_end = [&](const void* address, bool device, const char* end) {
    if (any ? memory.owns(address) : device) {
      memory.require(address, bytes, end);
    } else if (memory.owns(address)) {
      fault(fmt::format("{}: {} is device memory, and the copy's kind says host", end, address));
    }
  };
  check_end(to, to_device, "a copy's destination");
  check_end(from, from_device, "a copy's source");
}

}  // namespace

void set_memory_limit(std::size_t bytes) { DeviceMemory::instance().set_limit(bytes); }

}  // namespace gradus::cuda::emulator

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
#define GRADUS_CASE(name, value, text) \
  case name: return #name;
    GRADUS_EMULATED_CUDA_ERRORS(GRADUS_CASE)
#undef GRADUS_CASE
  }
  return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
#define GRADUS_CASE(name, value, text) \
  case name: return text;
    GRADUS_EMULATED_CUDA_ERRORS(GRADUS_CASE)
#undef GRADUS_CASE
  }
  return "unrecognized error code";
}

// --- the device ----------------------------------------------------------------------------------
cudaError_t cudaGetDeviceCount(int* count) {
  if (pretends("no-gpu")) return set_last_error(cudaErrorNoDevice);
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  return set_last_error(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device != 0) return set_last_error(cudaErrorInvalidDevice);
  cudaDeviceProp p{};
  std::snprintf(p.name, sizeof(p.name), "emulated GPU");
  const pid_t process = getpid();  // each has its own
  std::memcpy(p.uuid.bytes, &process, sizeof(process));
  p.totalGlobalMem = DeviceMemory::instance().limit();
  p.sharedMemPerBlock = default_shared_bytes;
  p.sharedMemPerBlockOptin = p.sharedMemPerMultiprocessor = most_shared_bytes;
  p.major = pretends("old-gpu") ? 6 : capability_major;
  p.minor = pretends("old-gpu") ? 1 : capability_minor;
  p.multiProcessorCount = multiprocessors;
  p.l2CacheSize = l2_bytes;
  p.warpSize = warpSize;
  p.maxThreadsPerBlock = max_threads;
  p.maxThreadsPerMultiProcessor = 2 * max_threads;
  std::copy_n(std::array{1024, 1024, 64}.data(), 3, p.maxThreadsDim);
  std::copy_n(std::array{0x7FFFFFFF, 65535, 65535}.data(), 3, p.maxGridSize);
  *properties = p;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (device != 0) return set_last_error(cudaErrorInvalidDevice);
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = max_threads; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = default_shared_bytes; break;
    case cudaDevAttrWarpSize: *value = warpSize; break;
    case cudaDevAttrMultiProcessorCount: *value = multiprocessors; break;
    case cudaDevAttrL2CacheSize: *value = l2_bytes; break;
    case cudaDevAttrComputeCapabilityMajor: *value = capability_major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = capability_minor; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = most_shared_bytes; break;
    case cudaDevAttrMemoryPoolsSupported: *value = 1; break;
    default: return set_last_error(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = pretends("no-driver") ? 0 : pretends("old-driver") ? 12040 : cuda_version;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = cuda_version;
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  return set_dynamic_shared_limit(kernel, value);
}

// --- memory --------------------------------------------------------------------------------------
cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  *memory = nullptr;
  if (is_in_host_function()) return set_last_error(cudaErrorNotPermitted);
  if (strict_capture_is_open()) return set_last_error(cudaErrorStreamCaptureUnsupported);
  if (bytes == 0) return cudaSuccess;
  *memory = DeviceMemory::instance().allocate(bytes);
  return set_last_error(*memory ? cudaSuccess : cudaErrorMemoryAllocation);
}
cudaError_t cudaFree(void* memory) {
  const bool freed = !memory || DeviceMemory::instance().free(memory);
  return set_last_error(freed ? cudaSuccess : cudaErrorInvalidValue);
}
// Ordered on a stream: while it is captured, CUDA would make these part of the graph.
cudaError_t cudaMallocAsync(void** memory, std::size_t bytes, cudaStream_t stream) {
  *memory = nullptr;
  if (is_in_host_function()) return set_last_error(cudaErrorNotPermitted);
  if (is_captured(stream)) return set_last_error(cudaErrorStreamCaptureUnsupported);
  if (bytes == 0) return cudaSuccess;
  *memory = DeviceMemory::instance().allocate_from_pool(bytes);
  return set_last_error(*memory ? cudaSuccess : cudaErrorMemoryAllocation);
}
cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream) {
  if (is_captured(stream)) return set_last_error(cudaErrorStreamCaptureUnsupported);
  const bool freed = !memory || DeviceMemory::instance().free_to_pool(memory);
  return set_last_error(freed ? cudaSuccess : cudaErrorInvalidValue);
}
cudaError_t cudaMallocHost(void** memory, std::size_t bytes) {
  if (is_in_host_function()) return set_last_error(cudaErrorNotPermitted);
  *memory = std::malloc(bytes);
  return set_last_error(*memory ? cudaSuccess : cudaErrorMemoryAllocation);
}
cudaError_t cudaFreeHost(void* memory) {
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return enqueue(stream, [=] {
    const DeviceAccess access;
    check_copy(to, from, bytes, kind);
    if (bytes > 0) std::memmove(to, from, bytes);
    return cudaSuccess;
  });
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  if (strict_capture_is_open()) return set_last_error(cudaErrorStreamCaptureUnsupported);
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}
cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
  return enqueue(stream, [=] {
    const DeviceAccess access;
    DeviceMemory::instance().require(memory, bytes, "cudaMemset");
    if (bytes > 0) std::memset(memory, value, bytes);
    return cudaSuccess;
  });
}
cudaError_t cudaMemset(void* memory, int value, std::size_t bytes) {
  if (strict_capture_is_open()) return set_last_error(cudaErrorStreamCaptureUnsupported);
  return cudaMemsetAsync(memory, value, bytes, nullptr);
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  const DeviceMemory& memory = DeviceMemory::instance();
  *total = memory.limit();
  *free = memory.limit() - std::min(memory.taken(), memory.limit());
  return cudaSuccess;
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device) {
  *pool = nullptr;
  return set_last_error(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { return cudaSuccess; }
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr attribute, void* value) {
  std::uint64_t bytes = DeviceMemory::instance().pool_bytes();
  if (attribute == cudaMemPoolAttrReleaseThreshold)
    bytes = std::numeric_limits<std::uint64_t>::max();
  std::memcpy(value, &bytes, sizeof(bytes));
  return cudaSuccess;
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, std::size_t) {
  DeviceMemory::instance().trim_pool();
  return cudaSuccess;
}
