// Exchanges between GPUs by NVIDIA's library NCCL, which knows the links between them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include <gradus/tensor/communicator.h>

namespace gradus {

/// A job's processes as a communicator of NCCL's. What it does is ordered on the stream that
/// launches go to (begin_exchanges), and can be recorded.
class Nccl {
 public:
  virtual ~Nccl() = default;
  /// As Processes::exchange_on_gpu.
  virtual void exchange(int partner, std::span<const std::byte> sent,
                        std::span<std::byte> received) = 0;
  /// In place: the sum of all processes' n numbers, float32 or float64, in NCCL's order.
  virtual void sum(DType dtype, void* x, std::int64_t n) = 0;
};

/// What a job's GPUs use: NCCL, or null where the way is through the host, and that in words.
struct GpuLink {
  std::unique_ptr<Nccl> nccl;
  std::string text;
};

/// To be called by all processes. NCCL needs its library on every machine (libnccl.so.2, which is
/// looked for now) and a GPU of its own for each process.
GpuLink connect_gpus(Processes& processes);

}  // namespace gradus
