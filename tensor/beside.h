// Work of a recorded step that a GPU may do beside the work that follows it.
#pragma once

#include <initializer_list>

#include <gradus/tensor/tensor.h>

namespace gradus {

/// While a Beside is alive, in work that is recorded for a GPU (RepeatedWork), what is launched
/// becomes a branch of the recorded graph: a GPU may run it at the same time as what is launched
/// after the Beside's end, so that each fills the multiprocessors that the other leaves idle.
/// Nobody may read or free the branch's results before it is joined: by join_beside(), or where the
/// next branch begins or the recording ends. Where nothing is recorded for a GPU, and within
/// another Beside, it does nothing.
class Beside {
 public:
  /// Begins a branch if `allowed`. It may read tensors from before; `reads` must name those that
  /// could be freed, or overwritten in place, before the join: they are held until then.
  Beside(bool allowed, std::initializer_list<Tensor> reads);
  ~Beside();
  Beside(const Beside&) = delete;
  Beside& operator=(const Beside&) = delete;

 private:
  bool begun_;
};

/// What is launched from now on waits for the branch that is under way, if there is one.
void join_beside() noexcept;

}  // namespace gradus
