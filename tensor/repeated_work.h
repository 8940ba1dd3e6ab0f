// Work on a device that is the same every time, and reading results back without waiting.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <gradus/tensor/tensor.h>

namespace gradus {

/// Runs a function again and again. On a GPU, after two ordinary runs, its launches are captured as
/// a graph, and from then on run() replays them with one call: the host does nothing else of what
/// the function does; a replay counts as a change of the tensors that the function changes
/// (Tensor::version). So each run must do the same work on the same tensors; what changes from run
/// to run (the batch, the learning rate) lies in tensors that the caller overwrites in between.
///
/// Where capturing fails (the function reads a result, or draws from a Generator, say), the
/// function goes on being called. Its part before the failure has then been called once without a
/// launch being run: so a function begins with zero_grad, lest it add to gradients that were never
/// computed, and what it does on the host may be done once more than there are runs.
class RepeatedWork {
 public:
  /// `work` runs on `device`; nothing happens before run().
  RepeatedWork(Device device, std::function<void()> work);
  RepeatedWork(const RepeatedWork&) = delete;
  RepeatedWork& operator=(const RepeatedWork&) = delete;

  /// Calls the function or replays it; throws what it throws.
  void run();
  /// Whether runs are replays by now.
  bool replays() const { return static_cast<bool>(replay_); }
  /// Why it could not be captured; empty if it was, or was not tried yet.
  const std::string& failure() const { return failure_; }

 private:
  Device device_;
  std::function<void()> work_, replay_;
  int runs_ = 0;
  std::string failure_;
};

/// Whether a RepeatedWork is recording the launches of its function: what the function does without
/// a launch then happens now, but not in the replays.
bool recording();

/// A copy of a tensor to the host, under way while the host goes on.
class Readback {
 public:
  Readback() = default;
  /// Starts copying the elements as the work that was started so far leaves them.
  explicit Readback(const Tensor& source);

  /// Whether there is a copy; otherwise get() throws Error.
  bool defined() const { return shared_ != nullptr; }
  /// The copy, on the CPU; waits until it is there.
  Tensor get() const;

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

}  // namespace gradus
