// Work that only takes time. Internal to tensor/cuda.
#pragma once

namespace gradus::cuda {

/// Keeps stream() busy for about 0.1 ms, in which the host can enqueue what is to be timed.
void spin();

}  // namespace gradus::cuda
