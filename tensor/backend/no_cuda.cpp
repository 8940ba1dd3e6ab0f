// The GPU's side of tensor/backend/runtime.h in a build without CUDA.
#include <gradus/tensor/check.h>
#include "tensor/backend/runtime.h"

namespace gradus::cuda {
namespace {

[[noreturn]] void refuse() { fail("cuda", "{}", unavailable_reason()); }

}  // namespace

const std::string& unavailable_reason() {
  static const std::string reason =
      "this build has no CUDA back end; build it where nvcc is found, or with -DGRADUS_CUDA=ON";
  return reason;
}

std::string device_description() { refuse(); }
std::size_t free_memory() { refuse(); }

void* allocate(std::size_t) { refuse(); }
void deallocate(void*, std::size_t) noexcept {}
MemoryStats memory_stats() { refuse(); }
void reset_peak_memory() { refuse(); }
void release_cached_memory() { refuse(); }

void copy(void*, const void*, std::size_t) { refuse(); }
void copy_to_device(void*, const void*, std::size_t) { refuse(); }
void copy_to_host(void*, const void*, std::size_t) { refuse(); }
void synchronize() { refuse(); }
std::function<void(void*)> read_back(const void*, std::size_t) { refuse(); }

std::function<void()> record(const std::function<void()>&) { refuse(); }
bool recording() { return false; }
bool recomputation_pays() { return false; }

bool begin_beside(std::vector<std::shared_ptr<const Storage>>) { return false; }
void end_beside() noexcept {}
void join_beside() noexcept {}

void begin_exchanges() { refuse(); }
void end_exchanges() noexcept {}
void join_exchanges() noexcept {}
void exchange_through_host(Processes&, int, std::span<const std::byte>, std::span<std::byte>) {
  refuse();
}
std::array<std::byte, 16> gpu_identity() { refuse(); }

void allow_tf32(bool) { refuse(); }
void start_profiler() { refuse(); }

}  // namespace gradus::cuda
