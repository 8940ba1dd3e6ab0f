#include "tensor/cuda/runtime/runtime.h"

#include <cuda_profiler_api.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <type_traits>

#include <gradus/tensor/check.h>
#include "tensor/backend/kernels.h"
#include "tensor/cuda/runtime/pinned.h"
#include "tensor/cuda/runtime/spin.h"
#if defined(GRADUS_CUDA_EMULATOR)
#include "tensor/cuda/emulator/emulator.h"
#endif

namespace gradus::cuda {
namespace {

constexpr int oldest_capability = 75;  // 7.5: Turing

std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

/// The GPU cannot be used for the given reason, unless the status is success.
void require(cudaError_t status, std::string_view what) {
  check(status == cudaSuccess, "cuda", "{}: {} ({})", what, cudaGetErrorString(status),
        cudaGetErrorName(status));
}

void check_driver() {
  int driver = 0, runtime = 0;
  require(cudaRuntimeGetVersion(&runtime), "the CUDA runtime does not answer");
  const cudaError_t status = cudaDriverGetVersion(&driver);
  check(status == cudaSuccess && driver > 0, "cuda", "no NVIDIA driver was found");
  check(driver / 1000 >= runtime / 1000, "cuda",
        "the NVIDIA driver is too old: it supports CUDA {}, this build needs {}; update the driver",
        version_text(driver), version_text(runtime));
  int count = 0;
  const cudaError_t counted = cudaGetDeviceCount(&count);
  check(counted != cudaErrorInsufficientDriver, "cuda",
        "the NVIDIA driver is too old for CUDA {}; update the driver", version_text(runtime));
  check(counted == cudaSuccess && count > 0, "cuda", "no GPU was found ({})",
        cudaGetErrorString(counted));
}

cudaDeviceProp first_device() {
  check_driver();
  cudaDeviceProp properties{};
  require(cudaGetDeviceProperties(&properties, 0), "the GPU's properties cannot be read");
  const int capability = properties.major * 10 + properties.minor;
  check(capability >= oldest_capability, "cuda",
        "the GPU {} is too old: compute capability {}.{}, and 7.5 or newer is needed",
        properties.name, properties.major, properties.minor);
  require(cudaSetDevice(0), "the GPU cannot be opened");
  return properties;
}

/// Ends a handle of CUDA's, for std::unique_ptr.
template <auto destroy>
struct Destroy {
  template <class T>
  void operator()(T* handle) const {
    destroy(handle);
  }
};

template <class Handle, auto destroy>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroy<destroy>>;

using Stream = Owned<cudaStream_t, cudaStreamDestroy>;
Stream make_stream(int priority) {
  cudaStream_t stream = nullptr;
  require(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, priority),
          "no stream can be made");
  return Stream(stream);
}

/// A stream, and cuBLAS's handle for it.
class Queue {
 public:
  explicit Queue(int priority) : stream_(make_stream(priority)) {
    // A workspace of its own lets calls be captured, and makes results repeat.
    void* workspace = nullptr;
    require(cudaMalloc(&workspace, workspace_bytes), "no memory for cuBLAS's workspace");
    workspace_.reset(workspace);
    cublasHandle_t blas = nullptr;
    GRADUS_CUDA_CHECK(cublasCreate(&blas));
    blas_.reset(blas);
    GRADUS_CUDA_CHECK(cublasSetStream(blas, stream_.get()));
    GRADUS_CUDA_CHECK(cublasSetWorkspace(blas, workspace, workspace_bytes));
    // A product cut along k adds its parts before it rounds to bfloat16.
    GRADUS_CUDA_CHECK(cublasSetMathMode(blas, CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION));
  }

  cudaStream_t stream() const { return stream_.get(); }
  cublasHandle_t blas() const { return blas_.get(); }

 private:
  static constexpr std::size_t workspace_bytes = std::size_t{32} << 20;
  Stream stream_;
  Owned<void*, cudaFree> workspace_;
  Owned<cublasHandle_t, cublasDestroy> blas_;
};

struct Priorities {
  int least = 0, greatest = 0;
  Priorities() {
    require(cudaDeviceGetStreamPriorityRange(&least, &greatest), "streams have no priorities");
  }
};

/// The handles that everything shares, in the order in which they depend on each other.
class Context {
 public:
  Context() : properties_(first_device()) {
    cudaMemPool_t pool = nullptr;
    require(cudaDeviceGetDefaultMemPool(&pool, 0), "the GPU has no memory pools");
    // Keep freed memory for the next request instead of handing it back at each synchronisation.
    std::uint64_t keep = ~std::uint64_t{0};
    require(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep),
            "the memory pool refuses its options");
  }

  const cudaDeviceProp& properties() const { return properties_; }
  const Queue& main() const { return main_; }
  cudaStream_t exchanges() const { return exchanges_.get(); }
  int least_priority() const { return priorities_.least; }

 private:
  cudaDeviceProp properties_;
  Priorities priorities_;
  Queue main_{priorities_.greatest};
  Stream exchanges_ = make_stream(priorities_.greatest);
};

/// The context, or why there is none. Never destroyed: tensors in static storage may outlive any
/// order of destruction, and the driver frees all at the process's end.
struct ContextOrReason {
  std::unique_ptr<Context> context;
  std::string reason;
};

ContextOrReason make_context() {
  ContextOrReason result;
  try {
    result.context = std::make_unique<Context>();
  } catch (const Error& error) {
    result.reason = error.message().substr(error.message().find(' ') + 1);  // without "[cuda]"
  }
  return result;
}

const ContextOrReason& context_or_reason() {
  static const auto* result = new ContextOrReason(make_context());
  return *result;
}

const Context& context() {
  const ContextOrReason& result = context_or_reason();
  check(result.context != nullptr, "cuda", "the GPU cannot be used: {}", result.reason);
  return *result.context;
}

/// Whether the status tells of a fault in work that was started before; the context is lost then.
bool is_earlier_fault(cudaError_t status) {
  switch (status) {
    case cudaErrorECCUncorrectable:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure: return true;
    default: return false;
  }
}

[[noreturn]] void fail_earlier(cudaError_t status, std::string_view seen_at) {
  fail("cuda",
       "a kernel that was started before failed: {} ({}); it was noticed at {}; run again with "
       "GRADUS_CUDA_SYNC=1 to learn which kernel",
       cudaGetErrorString(status), cudaGetErrorName(status), seen_at);
}

/// Whether a kernel of this build runs on the GPU: it may hold no code for its architecture.
std::string try_kernel() {
  try {
    const Scratch<float> memory(1);
    fill(memory.data(), 0.0f, 1);
    synchronize();
  } catch (const Error& error) {
    return fmt::format("no kernel runs on it: {}; build for it: -DCMAKE_CUDA_ARCHITECTURES=native",
                       error.message());
  }
  return "";
}

void refuse_while_capturing(std::string_view what) {
  check(!recording(), "cuda", "{} cannot be part of a captured graph", what);
}

/// Made on first use: only what is recorded takes it.
const Queue& side_queue() {
  static const auto* result = new Queue(context().least_priority());
  return *result;
}

thread_local Lane current_lane = Lane::main;
const Queue& queue_of(Lane lane) { return lane == Lane::side ? side_queue() : context().main(); }

thread_local Profile* active_profile = nullptr;
bool tf32 = false;

std::size_t assumed_l2_bytes = 0;  // 0: the device's own
int assumed_multiprocessors = 0;

}  // namespace

void check_status(cudaError_t status, const char* expression, const char* file, int line) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // forget it, where it is not one that sticks
  if (is_earlier_fault(status)) fail_earlier(status, expression);
  fail("cuda", "{} ({}) from {} at {}:{}", cudaGetErrorString(status), cudaGetErrorName(status),
       expression, file, line);
}

void check_status(cublasStatus_t status, const char* expression, const char* file, int line) {
  check(status == CUBLAS_STATUS_SUCCESS, "cublas", "{} from {} at {}:{}",
        cublasGetStatusString(status), expression, file, line);
}

void check_launch(cudaError_t status, const char* kernel, dim3 grid, dim3 block,
                  std::size_t shared_bytes) {
  if (status == cudaSuccess) return check_finished(kernel);
  cudaGetLastError();
  if (is_earlier_fault(status)) fail_earlier(status, kernel);
  std::string reason = cudaGetErrorString(status);
#if defined(GRADUS_CUDA_EMULATOR)
  reason += ": " + emulator::refusal();
#endif
  fail("cuda",
       "kernel \"{}\" with grid {} x {} x {}, block {} x {} x {}, {} bytes of shared memory: {}",
       kernel, grid.x, grid.y, grid.z, block.x, block.y, block.z, shared_bytes, reason);
}

bool waits_for_launches() {
  static const char* const value = std::getenv("GRADUS_CUDA_SYNC");
  static const bool waits = value != nullptr && std::string_view(value) == "1";
  return waits;
}

void check_finished(const char* name) {
  if (!waits_for_launches()) return;  // otherwise nothing is ever recorded
  const cudaError_t status = cudaStreamSynchronize(stream());
  check(status == cudaSuccess, "cuda", "{} failed while it ran: {} ({})", name,
        cudaGetErrorString(status), cudaGetErrorName(status));
}

const std::string& unavailable_reason() {
  static const std::string reason =
      context_or_reason().context ? try_kernel() : context_or_reason().reason;
  return reason;
}

std::string device_description() {
  const cudaDeviceProp& p = context().properties();
  return fmt::format("{} ({:.1f} GiB, compute capability {}.{})", p.name,
                     static_cast<double>(p.totalGlobalMem) / 0x1p30, p.major, p.minor);
}

cudaStream_t stream_of(Lane lane) {
  return lane == Lane::exchange ? context().exchanges() : queue_of(lane).stream();
}
void launch_on(Lane lane) { current_lane = lane; }
Lane launch_lane() { return current_lane; }
cudaStream_t stream() { return stream_of(current_lane); }
cudaError_t order(Lane earlier, Lane later) {
  static thread_local const Owned<cudaEvent_t, cudaEventDestroy> event([] {
    cudaEvent_t made = nullptr;
    cudaEventCreateWithFlags(&made, cudaEventDisableTiming);
    return made;
  }());
  const cudaError_t status = cudaEventRecord(event.get(), stream_of(earlier));
  return status == cudaSuccess ? cudaStreamWaitEvent(stream_of(later), event.get()) : status;
}
cublasHandle_t blas() {
  check(current_lane != Lane::exchange, "cuda", "the stream of exchanges has no products");
  return queue_of(current_lane).blas();
}
std::size_t l2_bytes() {
  return assumed_l2_bytes > 0 ? assumed_l2_bytes
                              : static_cast<std::size_t>(context().properties().l2CacheSize);
}
void assume_l2_bytes(std::size_t bytes) { assumed_l2_bytes = bytes; }
int multiprocessor_count() {
  return assumed_multiprocessors > 0 ? assumed_multiprocessors
                                     : context().properties().multiProcessorCount;
}
void assume_multiprocessors(int count) { assumed_multiprocessors = count; }

void synchronize() {
  refuse_while_capturing("waiting for the device");
  GRADUS_CUDA_CHECK(cudaStreamSynchronize(stream()));
}

void allow_tf32(bool on) { tf32 = on; }
bool tf32_allowed() { return tf32; }

void start_profiler() { GRADUS_CUDA_CHECK(cudaProfilerStart()); }

void copy_to_device(void* to, const void* from, std::size_t bytes) {
  refuse_while_capturing("a copy from the host");
  if (active_profile && !active_profile->executes()) return;
  // Through page-locked blocks, so that the caller's memory is free at once and the host runs
  // ahead.
  constexpr std::size_t most = std::size_t{4} << 20;
  for (std::size_t begin = 0; begin < bytes; begin += most) {
    PinnedBlock block(std::min(most, bytes - begin));
    block.copy_to_device(static_cast<std::byte*>(to) + begin,
                         static_cast<const std::byte*>(from) + begin);
  }
}

void copy_to_host(void* to, const void* from, std::size_t bytes) {
  refuse_while_capturing("a copy to the host");
  if (active_profile && !active_profile->executes()) {
    std::memset(to, 0, bytes);
    return;
  }
  GRADUS_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream()));
  synchronize();
}

void copy(void* to, const void* from, std::size_t bytes) {
  const LaunchRecord record("copy", {.bytes = 2.0 * static_cast<double>(bytes)});
  if (record.skipped()) return;
  GRADUS_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream()));
  check_finished("copy");
}

Profile::Profile(bool execute) : execute_(execute) {
  check(active_profile == nullptr, "profile", "another profile is being taken");
  active_profile = this;
}

Profile::~Profile() { active_profile = nullptr; }

LaunchRecord::LaunchRecord(const char* name, const Work& work) {
  if (!active_profile) return;
  active_profile->entries_.push_back({name, work, 0, launch_lane()});
  skipped_ = !active_profile->executes();
  if (skipped_) return;
  GRADUS_CUDA_CHECK(cudaEventCreate(&begin_));
  spin();
  GRADUS_CUDA_CHECK(cudaEventRecord(begin_, stream()));
}

LaunchRecord::~LaunchRecord() {
  if (!begin_) return;
  cudaEvent_t end = nullptr;
  float milliseconds = 0;
  cudaEventCreate(&end);
  cudaEventRecord(end, stream());
  cudaEventSynchronize(end);
  cudaEventElapsedTime(&milliseconds, begin_, end);
  cudaEventDestroy(begin_);
  cudaEventDestroy(end);
  if (active_profile) active_profile->entries_.back().seconds = 1e-3 * milliseconds;
}

}  // namespace gradus::cuda
