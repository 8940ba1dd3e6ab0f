#include <gradus/tensor/storage.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include <gradus/tensor/tensor.h>
#include "tests/support/device.h"
#include "tests/support/errors.h"

using namespace gradus;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool caching = false;  // as in tensor/storage.cpp
#else
constexpr bool caching = true;
#endif

/// What a request of `bytes` adds to the bytes in use.
std::size_t rounded(std::size_t bytes) {
  const std::size_t before = memory_stats().in_use;
  const Storage storage(bytes, Device::cpu);
  return memory_stats().in_use - before;
}

}  // namespace

TEST_SUITE_BEGIN("storage" * test::cpu_only());

TEST_CASE("blocks are aligned and rounded up to size classes") {
  CHECK(rounded(0) == 0);
  CHECK(rounded(1) == 64);
  CHECK(rounded(64) == 64);
  CHECK(rounded(65) == 128);
  CHECK(rounded(1024) == 1024);
  CHECK(rounded(1025) == 1152);
  CHECK(rounded(2048) == 2048);
  for (std::size_t bytes = 1025; bytes < (std::size_t{1} << 24); bytes = bytes * 5 / 4 + 1) {
    const std::size_t size = rounded(bytes);
    CHECK(size >= bytes);
    CHECK(static_cast<double>(size) <= 1.125 * static_cast<double>(bytes) + 1);
    const Storage storage(bytes, Device::cpu);
    CHECK(reinterpret_cast<std::uintptr_t>(storage.data()) % 64 == 0);
  }
}

TEST_CASE("an empty block is null") {
  const Storage storage(0, Device::cpu);
  CHECK(storage.data() == nullptr);
  CHECK(storage.bytes() == 0);
}

TEST_CASE("a freed block is handed out again") {
  if (!caching) return;
  release_cached_memory();
  void* first = nullptr;
  {
    const Storage storage(100'000, Device::cpu);
    first = storage.data();
  }
  const MemoryStats before = memory_stats();
  const Storage other_class(200'000, Device::cpu);
  CHECK(other_class.data() != first);
  const Storage same_class(100'001, Device::cpu);
  CHECK(same_class.data() == first);
  CHECK(memory_stats().system_allocations == before.system_allocations + 1);
}

TEST_CASE("the place of a freed large block serves smaller ones, and theirs a larger one") {
  if (!caching) return;
  std::vector<std::unique_ptr<Storage>> blocks;
  const auto allocate = [&](std::size_t bytes) {
    blocks.push_back(std::make_unique<Storage>(bytes, Device::cpu));
    return static_cast<std::byte*>(blocks.back()->data());
  };
  for (const std::size_t unit : {std::size_t{1} << 20, std::size_t{12} << 20}) {  // of each part
    CAPTURE(unit);
    blocks.clear();
    release_cached_memory();
    std::byte* const first = allocate(10 * unit);
    allocate(unit);  // what follows is not free
    blocks[0].reset();
    const MemoryStats before = memory_stats();
    CHECK(allocate(2 * unit) == first);
    CHECK(allocate(5 * unit) == first + 2 * unit);
    CHECK(allocate(3 * unit) == first + 7 * unit);
    // The last one to be freed joins a neighbour on each side.
    blocks[2].reset();
    blocks[4].reset();
    blocks[3].reset();
    CHECK(allocate(10 * unit) == first);
    CHECK(memory_stats().system_allocations == before.system_allocations);
    CHECK(memory_stats().reserved == before.reserved);
    CHECK(memory_stats().in_use == before.in_use + 10 * unit);
  }
}

TEST_CASE("large blocks do not break up the places of very large ones") {
  if (!caching) return;
  constexpr std::size_t MiB = 1 << 20;
  release_cached_memory();
  auto activation = std::make_unique<Storage>(64 * MiB, Device::cpu);
  const Storage kept(64 * MiB, Device::cpu);
  const auto* const place = static_cast<const std::byte*>(activation->data());
  activation.reset();
  const Storage gradient(9 * MiB, Device::cpu);
  const auto* const other = static_cast<const std::byte*>(gradient.data());
  CHECK((other + 9 * MiB <= place || other >= place + 64 * MiB));
  CHECK(Storage(64 * MiB, Device::cpu).data() == place);
}

TEST_CASE("large blocks do not overlap, whatever the order of their coming and going") {
  std::mt19937 engine(3);
  struct Block {
    std::unique_ptr<Storage> storage;
    std::size_t bytes;
    unsigned char value;
  };
  std::vector<Block> blocks;
  int wrong = 0;
  const auto check_and_free = [&](std::size_t i) {
    const auto* data = static_cast<const unsigned char*>(blocks[i].storage->data());
    for (std::size_t at = 0; at < blocks[i].bytes; at += 4096) wrong += data[at] != blocks[i].value;
    wrong += data[blocks[i].bytes - 1] != blocks[i].value;
    blocks.erase(blocks.begin() + static_cast<std::ptrdiff_t>(i));
  };
  const std::size_t start = memory_stats().in_use;
  for (int round = 0; round < 400; ++round) {
    if (round % 50 == 49) release_cached_memory();
    if (blocks.size() > 12 || (!blocks.empty() && engine() % 3 == 0)) {
      check_and_free(engine() % blocks.size());
      continue;
    }
    const std::size_t most = std::size_t{engine() % 4 == 0 ? 24u : 3u} << 20;
    const std::size_t bytes = (std::size_t{1} << 19) + engine() % most;
    const auto value = static_cast<unsigned char>(engine());
    blocks.push_back({std::make_unique<Storage>(bytes, Device::cpu), bytes, value});
    std::memset(blocks.back().storage->data(), value, bytes);
    CHECK(reinterpret_cast<std::uintptr_t>(blocks.back().storage->data()) % 64 == 0);
    CHECK(memory_stats().reserved >= memory_stats().in_use);
  }
  while (!blocks.empty()) check_and_free(blocks.size() - 1);
  CHECK(wrong == 0);
  CHECK(memory_stats().in_use == start);
}

TEST_CASE("memory that went back to the system is taken again, and is zero") {
  if (!caching) return;
  constexpr std::size_t bytes = std::size_t{8} << 20;
  release_cached_memory();
  const MemoryStats start = memory_stats();
  const void* place = nullptr;
  {
    const Storage storage(bytes, Device::cpu);
    place = storage.data();
    std::memset(storage.data(), 7, bytes);
  }
  CHECK(memory_stats().reserved == start.reserved + bytes);
  release_cached_memory();
  CHECK(memory_stats().reserved == start.reserved);
  const Storage storage(bytes, Device::cpu);
  CHECK(storage.data() == place);
  CHECK(memory_stats().system_allocations == start.system_allocations + 2);
  const auto* data = static_cast<const unsigned char*>(storage.data());
  CHECK(std::all_of(data, data + bytes, [](unsigned char x) { return x == 0; }));
}

TEST_CASE("a repeated pattern of allocations asks the system for nothing new") {
  if (!caching) return;
  const auto step = [] {
    std::vector<Tensor> activations;
    for (std::int64_t i = 1; i <= 20; ++i) activations.push_back(zeros({i * 1000}));
  };
  step();
  const MemoryStats before = memory_stats();
  for (int i = 0; i < 3; ++i) step();
  CHECK(memory_stats().system_allocations == before.system_allocations);
  CHECK(memory_stats().reserved == before.reserved);
  CHECK(memory_stats().in_use == before.in_use);
}

TEST_CASE("the peak is the highest use since the last reset") {
  reset_peak_memory();
  const std::size_t start = memory_stats().in_use;
  CHECK(memory_stats().peak_in_use == start);
  {
    const Storage a(1 << 20, Device::cpu);
    { const Storage b(1 << 20, Device::cpu); }
    CHECK(memory_stats().in_use == start + (1 << 20));
    CHECK(memory_stats().peak_in_use == start + (2 << 20));
  }
  CHECK(memory_stats().in_use == start);
  CHECK(memory_stats().peak_in_use == start + (2 << 20));
  reset_peak_memory();
  CHECK(memory_stats().peak_in_use == start);
}

TEST_CASE("cached memory goes back to the system on request") {
  const Storage kept(4096, Device::cpu);
  { const Storage freed(1 << 20, Device::cpu); }
  CHECK((memory_stats().reserved > memory_stats().in_use) == caching);
  release_cached_memory();
  CHECK(memory_stats().reserved == memory_stats().in_use);
}

TEST_CASE("views keep their storage alive") {
  const std::size_t start = memory_stats().in_use;
  Tensor view;
  {
    const Tensor whole = arange(0, 3000);
    view = whole.slice(1000, 2000).reshape({10, 100});
  }
  CHECK(memory_stats().in_use == start + rounded(3000 * 8));
  CHECK(view.to_vector<std::int64_t>().front() == 1000);
  CHECK(view.to_vector<std::int64_t>().back() == 1999);
  view = Tensor();
  CHECK(memory_stats().in_use == start);
}

TEST_CASE("threads may allocate at the same time") {
  const std::size_t start = memory_stats().in_use;
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([t, &wrong] {
      for (int i = 0; i < 300; ++i) {
        const Tensor x = full({1 + (i % 50 == 0 ? 300'000 : i % 7 * 100)}, t);
        for (float value : x.to_vector<float>()) wrong[t] += value != static_cast<float>(t);
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4, 0));
  CHECK(memory_stats().in_use == start);
}

TEST_CASE("requests that cannot be met are errors and change nothing") {
  const MemoryStats before = memory_stats();
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  // (A sanitizer's allocator ends the program instead of returning null.)
  CHECK_ERROR(Storage(std::size_t{1} << 60, Device::cpu),
              "[allocate] out of memory: 1099511627776.0 MiB asked for");
#endif
  CHECK(memory_stats().in_use == before.in_use);
}

TEST_SUITE_END();
