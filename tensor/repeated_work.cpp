#include <gradus/tensor/repeated_work.h>

#include <optional>
#include <utility>

#include <gradus/tensor/check.h>
#include <gradus/tensor/draws.h>

#if defined(GRADUS_CUDA)
#include "tensor/cuda/runtime/graph.h"
#include "tensor/cuda/runtime/pinned.h"
#endif

namespace gradus {
namespace {

constexpr int warm_up_runs = 2;  // libraries load their code, buffers reach their sizes

}  // namespace

#if defined(GRADUS_CUDA)

bool recording() { return cuda::Graph::capturing(); }

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

bool recording() { return false; }

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
  std::optional<cuda::PinnedBlock> copy;  ///< on its way; none where the source was there already
  Tensor on_host;

  explicit Shared(const Tensor& source) : shape(source.shape()), dtype(source.dtype()) {
    if (source.device() == Device::cpu) {
      on_host = source.clone();
      return;
    }
    copy.emplace(source.bytes());
    copy->copy_from_device(source.raw());
  }

  Tensor get() {
    if (!copy) return on_host;
    Tensor result(shape, dtype, Device::cpu);
    copy->read(result.raw());
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
