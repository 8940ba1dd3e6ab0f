// Runs the threads of blocks, one at a time, as fibres.
#pragma once

#include <string>

#include "tensor/cuda/emulator/emulator.h"

namespace gradus::cuda::emulator {

/// In which order blocks run, and the threads of a block between two points where they wait.
enum class Order { forward, reverse, random };

inline constexpr int max_threads = 1024;                        // of a block
inline constexpr std::size_t default_shared_bytes = 48 * 1024;  // of a block
inline constexpr std::size_t most_shared_bytes = 227 * 1024;    // with cudaFuncSetAttribute, as 9.0

/// A block begins, with `bytes` of dynamic shared memory, all unwritten, and at most `limit` of
/// static and dynamic together (shared_array.h).
void start_shared_memory(std::size_t bytes, std::size_t limit);

/// While one is alive, faults are this launch's.
class RunningLaunch {
 public:
  explicit RunningLaunch(const Launch& launch);
  ~RunningLaunch();
  RunningLaunch(const RunningLaunch&) = delete;
  RunningLaunch& operator=(const RunningLaunch&) = delete;
};

/// Runs every block of the RunningLaunch. Throws Error on the first fault.
void run_grid(Order order);

/// Like: kernel "softmax", block (0, 0, 0), thread (33, 0, 0). Only its first part between blocks,
/// and empty where no kernel runs.
std::string running_place();

}  // namespace gradus::cuda::emulator
