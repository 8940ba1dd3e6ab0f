#include <gradus/tensor/repeated_work.h>

#include <algorithm>
#include <utility>
#include <vector>

#include <gradus/tensor/check.h>
#include <gradus/tensor/draws.h>
#include "tensor/backend/note_changes.h"
#include "tensor/backend/runtime.h"

namespace gradus {
namespace {

constexpr int warm_up_runs = 2;  // libraries load their code, buffers reach their sizes

/// While one is alive, draws are errors: a recorded one would be the same in each replay.
class ForbidDraws : public DrawScope {
  std::uint64_t take_inside(Generator&, std::uint64_t) override {
    fail("capture", "the work draws random numbers, which a replay would repeat");
  }
};

/// Records work() for a replay, which then counts as a change of what work() changes.
std::function<void()> record_changes(Device device, const std::function<void()>& work) {
  std::vector<std::weak_ptr<Storage>> changed;
  std::function<void()> replay = GRADUS_BACKEND(device, record([&] {
                                                  const NoteChanges note(changed);
                                                  work();
                                                }));
  if (!replay) return replay;
  std::erase_if(changed, [](const auto& storage) { return storage.expired(); });
  std::sort(changed.begin(), changed.end(), std::owner_less<>());
  const auto same = [](const auto& a, const auto& b) { return a.lock() == b.lock(); };
  changed.erase(std::unique(changed.begin(), changed.end(), same), changed.end());
  return [replay = std::move(replay), changed = std::move(changed)] {
    replay();
    for (const std::weak_ptr<Storage>& storage : changed)
      if (const std::shared_ptr<Storage> alive = storage.lock()) alive->count_change();
  };
}

}  // namespace

bool recording() { return cpu::recording() || cuda::recording(); }

RepeatedWork::RepeatedWork(Device device, std::function<void()> work)
    : device_(device), work_(std::move(work)) {}

void RepeatedWork::run() {
  if (runs_ == warm_up_runs && !replay_) {
    try {
      const ForbidDraws forbid;
      replay_ = record_changes(device_, work_);
    } catch (const Error& error) {
      failure_ = error.what();
    }
  }
  if (replay_) return replay_();
  ++runs_;
  work_();
}

struct Readback::Shared {
  Shape shape;
  DType dtype;
  std::function<void(void* to)> read;
};

Readback::Readback(const Tensor& source) {
  check(source.defined(), "readback", "the tensor is undefined");
  shared_ = std::make_shared<Shared>(
      Shared{source.shape(), source.dtype(),
             GRADUS_BACKEND(source.device(), read_back(source.raw(), source.bytes()))});
}

Tensor Readback::get() const {
  check(defined(), "readback", "nothing is being read back");
  Tensor result(shared_->shape, shared_->dtype, Device::cpu);
  shared_->read(result.raw());
  return result;
}

}  // namespace gradus
