#include "tensor/repeated_work.h"

#include <cstring>
#include <utility>

#include "tensor/check.h"
#include "tensor/draws.h"

#if defined(GRADUS_CUDA)
#include "tensor/cuda/graph.h"
#include "tensor/cuda/runtime.h"
#endif

namespace gradus {
namespace {

constexpr int warm_up_runs = 2;  // libraries load their code, buffers reach their sizes

}  // namespace

#if defined(GRADUS_CUDA)

namespace {

/// While one is alive, draws are errors: a captured one would be the same in each replay.
class ForbidDraws : public DrawScope {
  std::uint64_t take_inside(Generator&, std::uint64_t) override {
    fail("capture", "the work draws random numbers, which a replay would repeat");
  }
};

}  // namespace

struct RepeatedWork::Captured {
  explicit Captured(const std::function<void()>& work) : graph(work) {}
  cuda::Graph graph;
};

#else

struct RepeatedWork::Captured {};

#endif

RepeatedWork::RepeatedWork(Device device, std::function<void()> work)
    : device_(device), work_(std::move(work)) {}

RepeatedWork::~RepeatedWork() = default;

bool RepeatedWork::replays() const { return captured_ != nullptr; }

void RepeatedWork::run() {
#if defined(GRADUS_CUDA)
  if (device_ == Device::cuda) {
    if (!captured_ && runs_ == warm_up_runs && failure_.empty()) {
      try {
        const ForbidDraws forbid;
        captured_ = std::make_unique<Captured>(work_);
      } catch (const Error& error) {
        failure_ = error.what();
      }
    }
    if (captured_) return captured_->graph.launch();
  }
#endif
  ++runs_;
  work_();
}

#if defined(GRADUS_CUDA)

struct Readback::Shared {
  Shape shape;
  DType dtype;
  std::size_t bytes;
  void* memory = nullptr;  // page-locked
  cudaEvent_t copied = nullptr;
  Tensor on_host;  // where the source was there already

  Shared(const Tensor& source)
      : shape(source.shape()), dtype(source.dtype()), bytes(source.bytes()) {
    if (source.device() == Device::cpu) {
      on_host = source.clone();
      return;
    }
    memory = cuda::allocate_pinned(std::max<std::size_t>(bytes, 1));
    GRADUS_CUDA_CHECK(cudaEventCreateWithFlags(&copied, cudaEventDisableTiming));
    GRADUS_CUDA_CHECK(
        cudaMemcpyAsync(memory, source.raw(), bytes, cudaMemcpyDeviceToHost, cuda::stream()));
    GRADUS_CUDA_CHECK(cudaEventRecord(copied, cuda::stream()));
  }
  ~Shared() {
    if (copied) {
      cudaEventSynchronize(copied);
      cudaEventDestroy(copied);
    }
    if (memory) cuda::deallocate_pinned(memory);
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;

  Tensor get() {
    if (!memory) return on_host;
    GRADUS_CUDA_CHECK(cudaEventSynchronize(copied));
    Tensor result(shape, dtype, Device::cpu);
    if (bytes > 0) std::memcpy(result.raw(), memory, bytes);
    return result;
  }
};

#else

struct Readback::Shared {
  Tensor on_host;
  explicit Shared(const Tensor& source) : on_host(source.clone()) {}
  Tensor get() { return on_host; }
};

#endif

Readback::Readback(const Tensor& source) : shared_(std::make_shared<Shared>(source)) {}

Tensor Readback::get() const {
  check(defined(), "readback", "nothing is being read back");
  return shared_->get();
}

}  // namespace gradus
