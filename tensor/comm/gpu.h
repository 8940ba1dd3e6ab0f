// Collective operations of processes that have a GPU each, on its memory: they are started on a
// stream of their own, in an order that is the same for all, and the host does not wait.
#pragma once

#include <memory>

#include <gradus/tensor/communicator.h>

namespace gradus::gpu {

/// Holds a sum that was started; joins it: what is launched from then on finds it done.
using StartedSum = std::shared_ptr<void>;

/// In place: the sum of all processes' x, float32 or float64; the channel tells whether it is
/// joined at once.
StartedSum start_sum(Processes& processes, Tensor x, Channel channel);
/// All processes' x [...]: [processes, ...].
Tensor gather(Processes& processes, const Tensor& x);
/// In place: x as the process `root` has it.
void broadcast(Processes& processes, Tensor& x, int root);

}  // namespace gradus::gpu
