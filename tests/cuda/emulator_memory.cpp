// Memory of the device: running out of it, and what a captured graph keeps.
#include <doctest/doctest.h>

#include <cmath>

#include <gradus/tensor/ops.h>
#include <gradus/tensor/repeated_work.h>
#include "tensor/cuda/emulator/memory.h"
#include "tests/support/compare.h"
#include "tests/support/errors.h"
#include "tests/support/near.h"

namespace gradus::test {
namespace {

using cuda::emulator::DeviceMemory;

constexpr TensorOptions gpu{DType::float32, Device::cuda};

/// Bytes that the driver has given out, with nothing cached. What the first recording of all makes,
/// a second stream with cuBLAS's workspace, is among them.
std::size_t used() {
  static const bool recorded = [] {
    const Tensor x = ones({1}, gpu);
    RepeatedWork work(Device::cuda, [&] { exp(x); });
    for (int i = 0; i < 3; ++i) work.run();
    return work.replays();
  }();
  CHECK(recorded);
  release_cached_memory(Device::cuda);
  return DeviceMemory::instance().used();
}

TEST_CASE("what does not fit is one clear line, and the next request works") {
  DeviceMemory& memory = DeviceMemory::instance();
  const std::size_t before = used(), limit = memory.limit();
  const Tensor kept = ones({1 << 18}, gpu);  // 1 MiB
  memory.set_limit(before + (std::size_t{4} << 20));
  CHECK_ERROR(empty({1 << 20}, gpu), "out of GPU memory: 4.0 MiB asked for, 3.0 MiB of");
  CHECK_ERROR(empty({1 << 20}, gpu), "a smaller batch, or bfloat16, needs less");
  CHECK(memory_stats(Device::cuda).in_use >= kept.bytes());
  const Tensor smaller = zeros({1 << 18}, gpu);
  memory.set_limit(limit);
  CHECK(empty({1 << 20}, gpu).numel() == 1 << 20);
  CHECK(kept.to_vector<float>() == std::vector<float>(1 << 18, 1.0F));
  CHECK(smaller.to_vector<float>() == std::vector<float>(1 << 18, 0.0F));
}

TEST_CASE("cached memory is let go of before a request fails") {
  DeviceMemory& memory = DeviceMemory::instance();
  const std::size_t before = used(), limit = memory.limit();
  memory.set_limit(before + (std::size_t{4} << 20));
  { const Tensor freed = empty({3 << 18}, gpu); }
  CHECK(empty({7 << 17}, gpu).bytes() == 7 << 19);  // not of the freed block's size
  memory.set_limit(limit);
}

TEST_CASE("a capture gets the memory that the runs before it left cached") {
  DeviceMemory& memory = DeviceMemory::instance();
  const Tensor x = ones({3 << 18}, gpu);
  Tensor total = zeros({}, gpu);
  const std::size_t before = used(), limit = memory.limit();
  memory.set_limit(before +
                   (std::size_t{4} << 20));  // the work takes 3 MiB, at first from the cache
  RepeatedWork doubled(Device::cuda, [&] { total.copy_from(sum(x * 2)); });
  for (int i = 0; i < 4; ++i) doubled.run();
  memory.set_limit(limit);
  CHECK(doubled.failure() == "");
  CHECK(doubled.replays());
  CHECK(total.item<float>() == 2.0F * (3 << 18));
  CHECK(memory_stats(Device::cuda).reserved >= x.bytes());
}

TEST_CASE("a destroyed graph gives its memory back") {
  const std::size_t before = used();
  Tensor last;
  {
    const Tensor x = full({10'000}, 0.5, gpu);
    RepeatedWork work(Device::cuda, [&] { last = exp(x * 2); });
    for (int i = 0; i < 5; ++i) work.run();
    CHECK(work.replays());
    CHECK(used() > before + x.bytes() + last.bytes());
  }
  // What the work left behind outlives it.
  CHECK(last.to_vector<float>()[9'999] == near(std::exp(1.0)));
  CHECK(used() > before);
  last = Tensor();
  CHECK(used() == before);
}

TEST_CASE("work that could not be captured leaves no memory behind") {
  const std::size_t before = used();
  {
    const Tensor x = full({10'000}, 0.5, gpu);
    double seen = 0;
    RepeatedWork work(Device::cuda, [&] { seen = sum(exp(x)).item<float>(); });
    for (int i = 0; i < 4; ++i) work.run();
    CHECK_FALSE(work.replays());
    CHECK(seen == near(10'000 * std::exp(0.5)));
  }
  CHECK(used() == before);
}

}  // namespace
}  // namespace gradus::test
