// The emulated GPU's tensor cores and asynchronous copies: what they compute, against plain loops,
// and what they report.
#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include <gradus/tensor/bfloat16.h>
#include "tensor/cuda/shared_array.h"
#include "tensor/cuda/tensor_core.h"
#include "tests/cuda/device_array.h"
#include "tests/cuda/faulty.h"
#include "tests/support/compare.h"

using namespace gradus;
using namespace gradus::cuda;
using emulator::launch;

namespace {

using Words = std::vector<std::uint32_t>;

/// Numbers of several magnitudes and both signs.
template <class E = BFloat16>
std::vector<E> random_numbers(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<E> x(count);
  for (E& value : x) value = E(normal(random));
  return x;
}

// --- matrices ------------------------------------------------------------------------------------

/// Row r of 32 (8 of each of four matrices) lies in shared memory as row 7 r % 32, 48 bytes apart.
__global__ void load_kernel(const std::uint16_t* x, std::uint32_t* result, bool transposed) {
  const auto rows = dynamic_shared<std::uint16_t>(32 * 24);
  const int lane = static_cast<int>(threadIdx.x), row = 7 * lane % 32;
  for (int j = 0; j < 8; ++j) rows[row * 24 + j] = x[lane * 8 + j];
  __syncwarp();
  const SharedAddress address = SharedAddress(&rows[0]) + static_cast<std::uint32_t>(row) * 48;
  std::uint32_t r[4];
  if (transposed) {
    load_matrices_transposed(r, address);
  } else {
    load_matrices(r, address);
  }
  for (int i = 0; i < 4; ++i) result[i * 32 + lane] = r[i];
}

/// c [16, 8] += a [16, k] b [8, k]^T, k being 16 of BFloat16 or 8 of float, each read and written
/// where multiply_add's contract says.
template <class E>
__global__ void multiply_kernel(const E* a, const E* b, float* c) {
  constexpr int in_word = 4 / sizeof(E), depth = 8 * in_word;
  const int lane = static_cast<int>(threadIdx.x), row = lane / 4, place = lane % 4;
  const auto word = [](const E* x) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, x, sizeof(bits));
    return bits;
  };
  std::uint32_t a_words[4];
  float sums[4];
  for (int i = 0; i < 4; ++i) {
    a_words[i] = word(a + (row + i % 2 * 8) * depth + (place + i / 2 * 4) * in_word);
    sums[i] = c[(row + i / 2 * 8) * 8 + place * 2 + i % 2];
  }
  multiply_add<E>(sums, a_words, word(b + row * depth + place * in_word),
                  word(b + row * depth + (place + 4) * in_word));
  for (int i = 0; i < 4; ++i) c[(row + i / 2 * 8) * 8 + place * 2 + i % 2] = sums[i];
}

/// c [16, 16 warps] = a [16, depth] b [depth, 16 warps]: copies 16 rows of b and columns of a
/// ahead.
__global__ void product_kernel(const BFloat16* a, const BFloat16* b, float* c, int depth) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int columns = static_cast<int>(blockDim.x) / 2, width = 16 + columns;
  const auto memory = dynamic_shared<BFloat16>(2 * 16 * width);
  const SharedAddress shared(&memory[0]);
  const auto place = [&](int stage, int row, int column) {
    return shared + static_cast<std::uint32_t>(((stage % 2 * 16 + row) * width + column) * 2);
  };
  const auto copy = [&](int stage) {  // a in columns 0 to 15, b behind them
    if (stage * 16 < depth) {
      for (int i = thread; i < 2 * width; i += static_cast<int>(blockDim.x)) {
        const int row = i % 16, column = i / 16 * 8;
        copy_async(place(stage, row, column),
                   column < 16 ? a + row * depth + stage * 16 + column
                               : b + (stage * 16 + row) * columns + column - 16,
                   true);
      }
    }
    commit_copies();
  };
  float sums[2][4] = {};
  copy(0);
  for (int stage = 0; stage * 16 < depth; ++stage) {
    copy(stage + 1);
    wait_for_copies<1>();
    __syncthreads();
    std::uint32_t a_pairs[4], b_pairs[4];
    load_matrices(a_pairs, place(stage, lane % 16, lane / 16 * 8));
    load_matrices_transposed(b_pairs, place(stage, lane % 16, 16 + warp * 16 + lane / 16 * 8));
    multiply_add<BFloat16>(sums[0], a_pairs, b_pairs[0], b_pairs[1]);
    multiply_add<BFloat16>(sums[1], a_pairs, b_pairs[2], b_pairs[3]);
    __syncthreads();
  }
  for (int i = 0; i < 8; ++i) {
    const int row = lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
    c[row * columns + warp * 16 + column] = sums[i / 4][i % 4];
  }
}

// --- copies --------------------------------------------------------------------------------------

/// Each thread copies four groups, the last not ended by itself, and counts after each wait how
/// many have landed. Odd threads leave out the third: zeros.
__global__ void copy_kernel(const float* x, float* result) {
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const auto memory = dynamic_shared<float>(threads * 16);
  const SharedAddress shared(&memory[0]);
  for (int group = 0; group < 4; ++group) {
    const int at = (group * threads + thread) * 4;
    const bool valid = group != 2 || thread % 2 == 0;
    copy_async(shared + static_cast<std::uint32_t>(at * 4), x + at, valid);
    commit_copies();
  }
  const auto take = [&](int group) {
    for (int i = 0; i < 4; ++i) {
      const int at = (group * threads + thread) * 4 + i;
      result[at] = memory[at];
    }
  };
  wait_for_copies<3>();
  take(0);
  wait_for_copies<1>();
  take(1);
  take(2);
  wait_for_copies<0>();
  take(3);
}

/// The last of all the shared memory that a block can have.
__global__ void large_kernel(float* result, int count) {
  const auto memory = dynamic_shared<float>(count);
  const std::uint32_t end = static_cast<std::uint32_t>(count) * 4;
  copy_async(SharedAddress(&memory[0]) + (end - 16), result, true);
  commit_copies();
  wait_for_copies<0>();
  *result = memory[count - 1];
}

// --- what is wrong -------------------------------------------------------------------------------

constexpr int shared_bytes = 64;

__device__ SharedAddress shared_at(int byte) {
  const auto memory = dynamic_shared<unsigned char>(shared_bytes);
  return SharedAddress(&memory[0]) + static_cast<std::uint32_t>(byte);
}

__global__ void copy_fault_kernel(const float* x, int to, int from) {
  copy_async(shared_at(to), x + from, true);
}
__global__ void copy_from_stack_kernel() {
  alignas(16) const float local[4] = {};
  copy_async(shared_at(0), local, true);
}
__global__ void copy_twice_kernel(const float* x) {
  for (int i = 0; i < 2; ++i) copy_async(shared_at(0), x, true);
}
__global__ void load_fault_kernel(int row) {
  std::uint32_t r[4];
  load_matrices(r, shared_at(row));
}
__global__ void load_transposed_fault_kernel(int row) {
  std::uint32_t r[4];
  load_matrices_transposed(r, shared_at(row));
}
__global__ void address_of_kernel(const float* x) {
  const SharedAddress address(x);
  copy_async(address, x, true);
}
__global__ void static_address_kernel(const float* x) {
  __shared__ SharedArray<float, 4> values;
  copy_async(SharedAddress(&values[0]), x, true);
}

enum class Early { read, write, load, open_group, later_group, other_thread };

/// Uses a copy that this thread, or for other_thread its neighbour, has not waited for.
__global__ void early_kernel(const float* x, float* y, Early what) {
  const auto memory = dynamic_shared<float>(shared_bytes / 4);
  const SharedAddress shared(&memory[4]);  // so that nothing else has touched what is copied
  const bool copies = threadIdx.x == 0;
  if (copies) copy_async(shared + 16, x, true);
  if (what != Early::open_group) commit_copies();
  if (what == Early::later_group) wait_for_copies<1>();
  if (what == Early::open_group || what == Early::other_thread) wait_for_copies<0>();
  if (what == Early::load) {
    std::uint32_t r[4];
    load_matrices(r, shared + 16);
  }
  if (what == Early::write) memory[8] = 1;
  if (what != Early::other_thread || !copies) *y = memory[8];
}

/// The first block's copy does not land in the second's memory.
__global__ void abandoned_copy_kernel(const float* x, float* y) {
  const auto memory = dynamic_shared<float>(shared_bytes / 4);
  if (blockIdx.x == 0) {
    copy_async(shared_at(16), x, true);
  } else {
    commit_copies();
    wait_for_copies<0>();
    *y = memory[4];
  }
}

__device__ void add_nothing() {
  float c[4] = {};
  const std::uint32_t a[4] = {};
  multiply_add<BFloat16>(c, a, 0, 0);
}
__global__ void half_warp_kernel() {
  if (threadIdx.x % 32 < 16) add_nothing();
}
__global__ void two_places_kernel() {
  float c[4] = {};
  const std::uint32_t a[4] = {};
  if (threadIdx.x < 16) {
    multiply_add<BFloat16>(c, a, 0, 0);
  } else {
    multiply_add<BFloat16>(c, a, 0, 0);
  }
}
__global__ void whole_warps_kernel() { add_nothing(); }
__global__ void shuffle_meanwhile_kernel() {
  if (threadIdx.x == 31) {
    __shfl_sync(~0u, 1, 0);
  } else {
    add_nothing();
  }
}

}  // namespace

TEST_CASE("emulator: matrices are loaded as they are and transposed") {
  std::vector<std::uint16_t> x(4 * 8 * 8);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<std::uint16_t>(i * 251 + 7);
  const DeviceArray<std::uint16_t> input(x);
  const DeviceArray<std::uint32_t> result(4 * 32);
  for (const bool transposed : {false, true}) {
    CAPTURE(transposed);
    REQUIRE(launch("load", load_kernel, 1, 32, 32 * 48, nullptr, input.data(), result.data(),
                   transposed) == cudaSuccess);
    Words expected;
    for (std::size_t matrix = 0; matrix < 4; ++matrix) {
      for (std::size_t lane = 0; lane < 32; ++lane) {
        const auto element = [&](std::size_t row, std::size_t column) {
          if (transposed) std::swap(row, column);
          return std::uint32_t{x[matrix * 64 + row * 8 + column]};
        };
        const std::size_t row = lane / 4, column = lane % 4 * 2;
        expected.push_back(element(row, column) | element(row, column + 1) << 16);
      }
    }
    CHECK(result.values() == expected);
  }
}

TEST_CASE_TEMPLATE("emulator: multiply_add adds products in order, in float32", E, BFloat16,
                   float) {
  constexpr std::size_t depth = 32 / sizeof(E);
  const auto a = random_numbers<E>(16 * depth, 1), b = random_numbers<E>(8 * depth, 2);
  std::vector<float> expected(16 * 8, 0.3f);
  const DeviceArray<E> a_device(a), b_device(b);
  const DeviceArray<float> c(expected);
  // bfloat16's 8 bits of mantissa are all taken, of float32's 24 the first 11.
  const auto taken = [](float x) { return emulator::cut_to_tf32(x); };
  for (std::size_t m = 0; m < 16; ++m) {
    for (std::size_t n = 0; n < 8; ++n) {
      float& sum = expected[m * 8 + n];
      for (std::size_t k = 0; k < depth; ++k) {
        sum = std::fma(taken(a[m * depth + k]), taken(b[n * depth + k]), sum);
      }
    }
  }
  REQUIRE(launch("multiply", multiply_kernel<E>, 1, 32, 0, nullptr, a_device.data(),
                 b_device.data(), c.data()) == cudaSuccess);
  CHECK(c.values() == expected);
}

TEST_CASE("emulator: rounding to TF32 is to nearest, ties away from zero") {
  const auto ulp = [](int exponent) { return std::ldexp(1.0f, exponent - 10); };
  CHECK(round_to_tf32(1 + 0.49f * ulp(0)) == 1);
  CHECK(round_to_tf32(1 + 0.5f * ulp(0)) == 1 + ulp(0));
  CHECK(round_to_tf32(-1 - 0.5f * ulp(0)) == -1 - ulp(0));
  CHECK(round_to_tf32(4 - ulp(-5)) == 4);
  CHECK(std::isinf(round_to_tf32(INFINITY)));
  CHECK(std::isnan(round_to_tf32(NAN)));
  // What the tensor cores take of round_for_product is the same.
  const auto taken = [](float x) {
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(round_for_product(x)) & ~0x1FFFu);
  };
  for (const float x : random_numbers<float>(1000, 5)) CHECK(taken(x) == round_to_tf32(x));
  for (const float x : {0.0f, 1 + 0.5f * ulp(0), -1 - 0.5f * ulp(0), 4 - ulp(-5), INFINITY}) {
    CHECK(taken(x) == round_to_tf32(x));
  }
  CHECK(std::isnan(taken(NAN)));
}

TEST_CASE("emulator: a product of matrices that are copied a stage ahead") {
  constexpr std::size_t depth = 80, columns = 48;
  const auto a = random_numbers(16 * depth, 3), b = random_numbers(depth * columns, 4);
  const DeviceArray<BFloat16> a_device(a), b_device(b);
  const DeviceArray<float> c(16 * columns);
  REQUIRE(launch("product", product_kernel, 1, 2 * columns, 2 * 16 * (16 + columns) * 2, nullptr,
                 a_device.data(), b_device.data(), c.data(), int{depth}) == cudaSuccess);
  std::vector<double> expected;
  for (std::size_t m = 0; m < 16; ++m) {
    for (std::size_t n = 0; n < columns; ++n) {
      double sum = 0;
      for (std::size_t k = 0; k < depth; ++k) {
        sum += double{a[m * depth + k]} * double{b[k * columns + n]};
      }
      expected.push_back(sum);
    }
  }
  CHECK(test::relative_error(c.values(), expected) <= 1e-6);
}

TEST_CASE("emulator: copies land group by group, zeros where nothing is read") {
  constexpr std::size_t threads = 40;
  std::vector<float> x(threads * 16);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i + 1);
  const DeviceArray<float> input(x), result(x.size());
  REQUIRE(launch("copy", copy_kernel, 1, threads, threads * 64, nullptr, input.data(),
                 result.data()) == cudaSuccess);
  for (std::size_t i = 0; i < threads * 4; ++i) {
    if (i / 4 % 2 == 1) x[2 * threads * 4 + i] = 0;
  }
  CHECK(result.values() == x);
}

TEST_CASE("emulator: all the shared memory that a block can have") {
  int bytes = 0;
  REQUIRE(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0) ==
          cudaSuccess);
  const DeviceArray<float> x(std::vector<float>{1, 2, 3, 4});
  const auto start = [&] {
    return launch("large", large_kernel, 1, 1, static_cast<std::size_t>(bytes), nullptr, x.data(),
                  bytes / 4);
  };
  CHECK(start() == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaErrorInvalidValue);
  REQUIRE(cudaFuncSetAttribute(large_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes) ==
          cudaSuccess);
  REQUIRE(start() == cudaSuccess);
  CHECK(x.values()[0] == 4);
}

TEST_CASE("emulator faults: copies and matrices that lie wrong") {
  const DeviceArray<float> x(std::vector<float>(16, 1.0f));
  const auto start = [](auto kernel, int threads, auto... arguments) {
    launch("faulty", kernel, 1, static_cast<unsigned>(threads), shared_bytes, nullptr,
           arguments...);
  };
  const auto copy = [&](int to, int from) { start(copy_fault_kernel, 1, x.data(), to, from); };
  copy(48, 12);  // is right
  check_fault([&] { copy(8, 0); },
              {"kernel \"faulty\", block (0, 0, 0), thread (0, 0, 0): copy_async: "
               "byte 8 of shared memory is not aligned to 16"});
  check_fault([&] { copy(64, 0); }, {"copy_async: byte 64 is outside of the 64 bytes"});
  check_fault([&] { copy(-16, 0); }, {"copy_async: byte 4294967280 is outside"});
  check_fault([&] { copy(0, 1); }, {"an access of 16 bytes", "is not aligned"});
  check_fault([&] { copy(0, 16); }, {"copy_async: 16 bytes at byte 64 of an allocation of 64"});
  check_fault([&] { copy(0, 1 << 28); }, {"copy_async", "is not in allocated device memory"});
  check_fault([&] { start(copy_from_stack_kernel, 1); }, {"is not in allocated device memory"});
  check_fault([&] { start(copy_twice_kernel, 1, x.data()); },
              {"copy_async to byte 0 of shared memory while another one is under way"});
  check_fault([&] { start(load_fault_kernel, 32, 24); }, {"load_matrices: byte 24", "not aligned"});
  check_fault([&] { start(load_transposed_fault_kernel, 32, 64); },
              {"load_matrices_transposed: byte 64 is outside"});
  check_fault([&] { start(load_fault_kernel, 32, 16); },
              {"load_matrices reads byte 16 of shared memory before this block wrote it"});
  check_fault([&] { start(address_of_kernel, 1, x.data()); }, {"not in dynamic shared memory"});
  check_fault([&] { start(static_address_kernel, 1, x.data()); }, {"not in dynamic shared memory"});
}

TEST_CASE("emulator faults: copies that were not waited for") {
  const DeviceArray<float> x(std::vector<float>(4, 1.0f)), y(1);
  const auto start = [&](int threads, Early what) {
    launch("faulty", early_kernel, 1, static_cast<unsigned>(threads), shared_bytes, nullptr,
           x.data(), y.data(), what);
  };
  const std::string under_way = "while a copy_async to it is under way";
  for (const Early what : {Early::read, Early::open_group, Early::later_group}) {
    CAPTURE(static_cast<int>(what));
    check_fault([&] { start(1, what); }, {"shared memory is read at index 8 " + under_way});
  }
  check_fault([&] { start(1, Early::write); }, {"shared memory is written at index 8", under_way});
  check_fault([&] { start(32, Early::load); },
              {"load_matrices reads byte 32 of shared memory " + under_way});
  check_fault([&] { start(2, Early::other_thread); },
              {"thread (1, 0, 0): shared memory is read at index 8 before this block wrote it"});
  emulator::set_order_check(false);  // the first block has to be first
  check_fault(
      [&] {
        launch("faulty", abandoned_copy_kernel, 2, 1, shared_bytes, nullptr, x.data(), y.data());
      },
      {"block (1, 0, 0)", "read at index 4 before this block wrote it"});
  emulator::set_order_check(true);
}

TEST_CASE("emulator faults: matrix operations that not all lanes of a warp execute") {
  check_fault([] { run(half_warp_kernel, 64); },
              {"warp divergence", "emulator_tensor_core.cpp:", "has left the kernel"});
  check_fault([] { run(two_places_kernel, 32); }, {"warp divergence", "emulator_tensor_core.cpp:"});
  check_fault([] { run(shuffle_meanwhile_kernel, 32); }, {"warp divergence: lane 31 is at"});
  check_fault([] { run(whole_warps_kernel, 40); }, {"lanes that do not exist", "has 8"});
  run(whole_warps_kernel, 64);
}
