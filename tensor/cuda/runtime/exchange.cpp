// Exchanges with other processes, on a stream of their own.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>

#include <gradus/tensor/check.h>
#include <gradus/tensor/communicator.h>
#include "tensor/cuda/runtime/graph_pool.h"
#include "tensor/cuda/runtime/runtime.h"

namespace gradus::cuda {
namespace {

constexpr std::size_t most_bytes = std::size_t{4} << 20;  // of an exchange at a time

/// Page-locked memory that a thread's exchanges pass through, one after another. Graphs refer to
/// it, so it lives as long as the thread, which is the one that replays them.
class Staging {
 public:
  std::byte* sent() const { return sent_.get(); }
  std::byte* received() const { return received_.get(); }

 private:
  struct Free {
    void operator()(std::byte* memory) const { cudaFreeHost(memory); }
  };
  using Memory = std::unique_ptr<std::byte, Free>;

  static Memory allocate() {
    void* memory = nullptr;
    GRADUS_CUDA_CHECK(cudaMallocHost(&memory, most_bytes));
    return Memory(static_cast<std::byte*>(memory));
  }

  Memory sent_ = allocate(), received_ = allocate();
};

const Staging& staging() {
  static thread_local const Staging memory;
  return memory;
}

/// What the host does between the two copies.
struct HostStep {
  Processes& processes;
  int partner;
  std::span<const std::byte> sent;
  std::span<std::byte> received;
  std::shared_ptr<HostStep> self;  ///< until it is done; of recorded ones the graph takes care
};

void run_host_step(void* argument) {
  auto& step = *static_cast<HostStep*>(argument);
  try {
    step.processes.exchange(Channel::gpu, step.partner, step.sent, step.received);
  } catch (const Error& error) {  // a lost connection: the stream must not use what never came
    fmt::print(stderr, "error: process {}: {}\n", step.processes.rank(), error.what());
    step.processes.abort(1);
  }
  step.self.reset();
}

}  // namespace

void begin_exchanges() {
  check(launch_lane() == Lane::main, "communicator",
        "nothing is exchanged beside other work of a recorded step; join_beside() first");
  GRADUS_CUDA_CHECK(order(Lane::main, Lane::exchange));
  launch_on(Lane::exchange);
}

void end_exchanges() noexcept { launch_on(Lane::main); }

void join_exchanges() noexcept { order(Lane::exchange, Lane::main); }

void exchange_through_host(Processes& processes, int partner, std::span<const std::byte> sent,
                           std::span<std::byte> received) {
  check(launch_lane() == Lane::exchange, "communicator",
        "exchanges are made on a stream of their own, whose order is the partner's, too");
  do {
    const auto out = sent.first(std::min(sent.size(), most_bytes));
    const auto in = received.first(std::min(received.size(), most_bytes));
    const LaunchRecord record("exchange", {.bytes = static_cast<double>(out.size() + in.size())});
    if (!record.skipped()) {
      const auto step = std::make_shared<HostStep>(HostStep{processes,
                                                            partner,
                                                            {staging().sent(), out.size()},
                                                            {staging().received(), in.size()},
                                                            {}});
      if (recording())
        hold_in_graph(step);
      else
        step->self = step;
      if (!out.empty())
        GRADUS_CUDA_CHECK(cudaMemcpyAsync(staging().sent(), out.data(), out.size(),
                                          cudaMemcpyDeviceToHost, stream()));
      GRADUS_CUDA_CHECK(cudaLaunchHostFunc(stream(), run_host_step, step.get()));
      if (!in.empty())
        GRADUS_CUDA_CHECK(cudaMemcpyAsync(in.data(), staging().received(), in.size(),
                                          cudaMemcpyHostToDevice, stream()));
      check_finished("exchange");
    }
    sent = sent.subspan(out.size());
    received = received.subspan(in.size());
  } while (!sent.empty() || !received.empty());
}

std::array<std::byte, 16> gpu_identity() {
  cudaDeviceProp properties{};
  GRADUS_CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
  std::array<std::byte, 16> identity;
  static_assert(sizeof(properties.uuid) == sizeof(identity));
  std::memcpy(identity.data(), &properties.uuid, sizeof(identity));
  return identity;
}

}  // namespace gradus::cuda
