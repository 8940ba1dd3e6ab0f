// How the back end reports faults, and what it keeps for the next step.
#include "tensor/cuda/runtime/runtime.h"

#include <doctest/doctest.h>

#include <cmath>

#include <gradus/tensor/ops.h>
#include <gradus/tensor/repeated_work.h>
#include "tensor/cuda/runtime/pinned.h"
#include "tests/support/command.h"
#include "tests/support/compare.h"
#include "tests/support/errors.h"
#include "tests/support/near.h"

namespace gradus::test {
namespace {

constexpr TensorOptions gpu{DType::float32, Device::cuda};

/// Destroyed when the program ends; a fault there fails the whole suite.
Tensor in_static_storage;

TEST_CASE("a fault of an earlier kernel is not blamed on the next one") {
  const auto launch_error = [](cudaError_t status) {
    return error_of([&] { cuda::check_launch(status, "innocent", dim3(1), dim3(32), 0); });
  };
  for (const cudaError_t status : {cudaErrorIllegalAddress, cudaErrorLaunchFailure,
                                   cudaErrorMisalignedAddress, cudaErrorAssert}) {
    const std::string message = launch_error(status);
    CAPTURE(message);
    CHECK(contains(message, "a kernel that was started before failed"));
    CHECK(contains(message, "noticed at innocent"));
    CHECK(contains(message, "GRADUS_CUDA_SYNC=1"));
    CHECK_ERROR(GRADUS_CUDA_CHECK(status), "a kernel that was started before failed");
  }
  const std::string refused = launch_error(cudaErrorInvalidConfiguration);
  CAPTURE(refused);
  CHECK(contains(refused, "kernel \"innocent\" with grid 1 x 1 x 1, block 32 x 1 x 1"));
  CHECK_FALSE(contains(refused, "before"));
  CHECK_ERROR(GRADUS_CUDA_CHECK(cudaErrorInvalidValue), "tests/cuda/runtime.cpp:");
}

TEST_CASE("GRADUS_CUDA_SYNC=1 changes no result, and work is called, not replayed") {
  const CommandResult result =
      run_command("/proc/self/exe", {"--test-case=reading back*"},
                  {.environment = {"GRADUS_CUDA_SYNC=1", "GRADUS_TEST_DEVICE=cuda"}});
  INFO("output: ", result.output);
  CHECK(result.exit_code == 0);
  CHECK_FALSE(contains(result.output, "test cases: 0 "));
}

TEST_CASE("reading back takes no new page-locked memory once it is warm") {
  Tensor x = zeros({4}, gpu), last;
  RepeatedWork work(Device::cuda, [&] { add_scaled(x, ones({4}, gpu)); });
  std::size_t blocks = 0;
  for (int step = 1; step <= 40; ++step) {
    work.run();
    const Readback sum(x);
    if (step > 4 && step % 3 == 0) continue;  // some are never looked at
    CHECK(sum.get().to_vector<float>() == std::vector<float>(4, static_cast<float>(step)));
    if (step == 4) blocks = cuda::PinnedBlock::count();
  }
  CHECK(work.replays() == !cuda::waits_for_launches());
  CHECK(cuda::PinnedBlock::count() <= blocks + 1);  // one more while an unread copy was under way
}

TEST_CASE("what a recorded step has taken is given back with it") {
  const auto taken = [] {
    release_cached_memory(Device::cuda);
    return memory_stats(Device::cuda).reserved;
  };
  const Tensor x = full({1 << 20}, 0.5, gpu);
  Tensor total = zeros({}, gpu);
  std::size_t with_graph = 0;
  {
    RepeatedWork work(Device::cuda, [&] { total.copy_from(sum(exp(x * 2))); });
    for (int i = 0; i < 5; ++i) work.run();
    CHECK(work.replays());
    with_graph = taken();
  }
  CHECK(taken() + x.bytes() <= with_graph);
  CHECK(total.item<float>() == near((1 << 20) * std::exp(1.0)));
}

TEST_CASE("a recorded tensor may lie in static storage, which outlives the library's own") {
  const Tensor x = ones({5}, gpu);
  RepeatedWork work(Device::cuda, [&] { in_static_storage = affine(x, 2, 0); });
  for (int run = 0; run < 4; ++run) work.run();
  CHECK(work.replays());
}

TEST_CASE("copies to the device, however many, take a bounded amount of page-locked memory") {
  const std::size_t before = cuda::PinnedBlock::count();
  std::vector<Tensor> copies;
  for (int i = 0; i < 100; ++i) copies.push_back(full({33}, i).to(Device::cuda));
  CHECK(cuda::PinnedBlock::count() <= before + 16);
  for (int i = 0; i < 100; ++i)
    CHECK(copies[static_cast<std::size_t>(i)].to_vector<float>() ==
          std::vector<float>(33, static_cast<float>(i)));
}

}  // namespace
}  // namespace gradus::test
