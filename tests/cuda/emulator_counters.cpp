// What the emulated GPU counts, for access patterns whose cost on a GPU is known.
#include "tensor/cuda/emulator/counters.h"

#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include "tensor/cuda/emulator/emulator.h"
#include "tensor/cuda/shared_array.h"
#include "tensor/cuda/tensor_core.h"
#include "tests/cuda/device_array.h"

using namespace gradus;
using namespace gradus::cuda;
using emulator::AccessCount;
using emulator::AccessCounters;

namespace {

/// Runs one block of 32 threads and returns what it counted.
template <class... Parameters, class... Arguments>
AccessCounters count(void (*kernel)(Parameters...), Arguments... arguments) {
  const AccessCount access_count;
  REQUIRE(emulator::launch("counted", kernel, 1, 32, 32 * 1024, nullptr, arguments...) ==
          cudaSuccess);
  return access_count.counters();
}

/// Each lane, or only the even ones, writes one V at a stride, in units of V.
template <class V>
__global__ void write_shared_kernel(int stride, bool all) {
  const auto values = dynamic_shared<V>(32 * stride + 1);
  const int lane = static_cast<int>(threadIdx.x);
  if (all || lane % 2 == 0) values[lane * stride] = V{};
}

template <class V>
void check_shared(int stride, int wavefronts, bool all = true) {
  const AccessCounters counters = count(write_shared_kernel<V>, stride, all);
  CAPTURE(sizeof(V));
  CAPTURE(stride);
  CHECK(counters.shared_requests == 1);
  CHECK(counters.shared_wavefronts == wavefronts);
  CHECK(counters.shared_ideal_wavefronts == std::max<int>(1, sizeof(V) / 4));
  CHECK(counters.global_requests == 0);
}

/// Lanes write the same words before and after a barrier; lane 0 alone in between.
__global__ void barriers_kernel() {
  __shared__ SharedArray<float, 64> values;
  const int lane = static_cast<int>(threadIdx.x);
  values[lane] = 0.0f;
  __syncthreads();
  if (lane == 0) values[32] = 1.0f;
  __syncthreads();
  const float first = values[0];
  values[lane] += first;
}

/// Each lane reads an element of its own and one of the next lane, which also gives it a register.
__global__ void exchange_kernel(int* y) {
  __shared__ SharedArray<int, 32> values;
  const int lane = static_cast<int>(threadIdx.x);
  values[lane] = lane;
  __syncthreads();
  const int own = values[lane];
  const int next = values[(lane + 1) % 32];
  y[lane] = own + next + __shfl_xor_sync(0xFFFFFFFF, lane, 1);
}

/// Lane l reads one element at l * stride.
template <int size>
__global__ void read_global_kernel(const float* x, float* y, int stride) {
  const int lane = static_cast<int>(threadIdx.x);
  store_vector<size>(y + lane * size, load_vector<size>(x + lane * stride));
}

/// 8 rows of four matrices, `pitch` bytes apart.
__global__ void matrices_kernel(const float* x, std::uint32_t pitch, float* y) {
  const auto values = dynamic_shared<float>(32 * 36);
  const auto lane = threadIdx.x;
  const SharedAddress row = SharedAddress(&values[0]) + lane * pitch;
  copy_async(row, x + lane * 4, lane != 5);
  commit_copies();
  wait_for_copies<0>();
  __syncthreads();
  std::uint32_t r[4];
  float c[4] = {};
  load_matrices(r, row);
  multiply_add<BFloat16>(c, r, r[0], r[1]);
  y[lane] = c[0];
}

}  // namespace

TEST_SUITE("emulated accesses") {
  TEST_CASE("bank conflicts of shared memory") {
    using Pair = Vector<float, 2>;
    using Four = Vector<float, 4>;
    check_shared<float>(0, 1);  // all lanes the same word
    check_shared<float>(1, 1);
    check_shared<float>(2, 2);
    check_shared<float>(1, 1, false);
    check_shared<float>(4, 4, false);
    check_shared<float>(8, 8);
    check_shared<float>(32, 32);
    check_shared<float>(33, 1);
    check_shared<BFloat16>(1, 1);
    check_shared<BFloat16>(64, 32);
    check_shared<Pair>(1, 2);
    check_shared<Pair>(2, 4);
    check_shared<Pair>(16, 32);
    check_shared<Four>(1, 4);
    check_shared<Four>(2, 8);
    check_shared<Four>(8, 32);
    check_shared<Four>(9, 4);
  }

  TEST_CASE("requests are told apart by barriers") {
    const AccessCounters counters = count(barriers_kernel);
    CHECK(counters.shared_requests == 5);
    CHECK(counters.shared_wavefronts == 5);
  }

  TEST_CASE("what threads have from each other") {
    const DeviceArray<int> y(32);
    const AccessCounters counters = count(exchange_kernel, y.data());
    CHECK(counters.shared_requests == 3);
    CHECK(counters.shared_reads_of_others == 32);
    CHECK(counters.lane_exchanges == 32);
  }

  TEST_CASE("sectors of global memory") {
    const DeviceArray<float> x(std::vector<float>(32 * 16)), y(32 * 4);
    const auto check = [&](auto kernel, int stride, int sectors_read, int sectors_written) {
      const AccessCounters counters = count(kernel, x.data(), y.data(), stride);
      CHECK(counters.global_requests == 2);
      CHECK(counters.global_sectors == sectors_read + sectors_written);
      CHECK(counters.shared_requests == 0);
    };
    check(read_global_kernel<1>, 0, 1, 4);
    check(read_global_kernel<1>, 1, 4, 4);
    check(read_global_kernel<1>, 16, 32, 4);
    check(read_global_kernel<4>, 4, 16, 16);
    check(read_global_kernel<4>, 8, 32, 16);
  }

  TEST_CASE("copies and matrices") {
    const DeviceArray<float> x(std::vector<float>(32 * 4)), y(32);
    for (const auto& [pitch, wavefronts] : {std::pair{16u, 4}, {32u, 8}, {128u, 32}, {144u, 4}}) {
      const AccessCounters counters = count(matrices_kernel, x.data(), pitch, y.data());
      CHECK(counters.shared_requests == 2);  // written by the copy, read by load_matrices
      CHECK(counters.shared_wavefronts == 2 * wavefronts);
      CHECK(counters.shared_ideal_wavefronts == 8);
      CHECK(counters.global_requests == 1);
      CHECK(counters.global_sectors == 16);  // all but half of one
      CHECK(counters.tensor_products == 1);
    }
  }

  TEST_CASE("nothing is counted without a count, and each count begins at 0") {
    const DeviceArray<float> x(std::vector<float>(32)), y(32);
    REQUIRE(emulator::launch("not counted", read_global_kernel<1>, 1, 32, 0, nullptr, x.data(),
                             y.data(), 1) == cudaSuccess);
    CHECK(count(read_global_kernel<1>, x.data(), y.data(), 1).global_requests == 2);
    CHECK(count(read_global_kernel<1>, x.data(), y.data(), 1).global_requests == 2);
    CHECK(emulator::order_check());
  }
}
