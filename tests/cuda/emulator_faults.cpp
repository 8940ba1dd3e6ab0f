// The emulated GPU: kernels and launches that are wrong are found, each with its place.
#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <string>
#include <vector>

#include <gradus/tensor/check.h>
#include "tensor/cuda/shared_array.h"
#include "tests/cuda/device_array.h"
#include "tests/cuda/faulty.h"

using namespace gradus;
using namespace gradus::cuda;
using emulator::launch;

namespace {

// --- barriers and warps --------------------------------------------------------------------------

__global__ void early_exit_kernel() {
  if (threadIdx.x >= 33) return;
  __syncthreads();
}

__global__ void write_and_early_exit_kernel(float* x, int i) {
  if (threadIdx.x == 0) x[i] = 2;
  if (threadIdx.x >= 33) return;
  __syncthreads();
}

__global__ void two_barriers_kernel() {
  if (threadIdx.x < 5) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

__global__ void barrier_and_shuffle_kernel() {
  if (threadIdx.x % 2) {
    __syncthreads();
  } else {
    __shfl_sync(~0u, 1, 0);
  }
}

__global__ void own_lane_missing_kernel() { __ballot_sync(0xFFFEu, 1); }
__global__ void full_mask_kernel() { __ballot_sync(~0u, 1); }
__global__ void lane_outside_mask_kernel() {
  if (threadIdx.x < 16) __shfl_sync(0xFFFFu, 1, 20);
}
__global__ void exited_lane_kernel() {
  if (threadIdx.x == 3) return;
  __shfl_xor_sync(~0u, 1, 1);
}
__global__ void two_masks_kernel() {
  const unsigned mask = threadIdx.x < 16 ? ~0u : 0xFFFF0001u;
  __shfl_sync(mask, 1, 31);
}

// --- shared memory -------------------------------------------------------------------------------

__global__ void outside_static_kernel(int index) {
  __shared__ SharedArray<float, 64> values;
  values[index] = 1;
}
__global__ void outside_dynamic_kernel(int index) {
  const auto values = dynamic_shared<double>(4);
  values[index] = 1;
}
__global__ void more_than_launched_kernel() { dynamic_shared<float>(9); }

/// Thread 0 writes, thread 1 reads beside it.
__global__ void unwritten_kernel(float* result) {
  __shared__ SharedArray<float, 4> values;
  if (threadIdx.x == 0) values[0] = 1;
  __syncthreads();
  *result = values[threadIdx.x];
}
__global__ void unwritten_dynamic_kernel(float* result) {
  const auto values = dynamic_shared<float>(4);
  values[0] = 1;
  *result = values[0] + values[1];
}
/// Only the first block writes: shared memory does not outlive a block.
__global__ void from_other_block_kernel(float* result) {
  __shared__ SharedArray<float, 1> value;
  if (blockIdx.x == 0) value[0] = 1;
  result[blockIdx.x] = value[0];
}
__global__ void much_static_kernel() {
  __shared__ SharedArray<float, 8192> first;
  __shared__ SharedArray<float, 8192> second;
  first[0] = 1;
  second[0] = 1;
}

// --- device memory -------------------------------------------------------------------------------

__global__ void misaligned_kernel(const float* x, float* y) {
  store_vector(y, load_vector<4>(x + 1));
}
__global__ void set_kernel(float* x, int index) { x[index] = 3; }
struct Target {
  int index;
  float* x;
};
__global__ void set_target_kernel(Target target) { target.x[target.index] = 3; }

// --- order ---------------------------------------------------------------------------------------

/// Reverses 64 numbers through shared memory; without the barrier, threads read too early.
__global__ void reverse_kernel(float* x, bool barrier) {
  __shared__ SharedArray<float, 64> values;
  const int i = static_cast<int>(threadIdx.x);
  values[63 - i] = 0;  // written, so that only the order is wrong
  __syncthreads();
  values[i] = x[i];
  if (barrier) __syncthreads();
  x[i] = values[63 - i];
}
__global__ void last_wins_kernel(int* x) { *x = static_cast<int>(threadIdx.x); }
__global__ void last_block_wins_kernel(int* x) { *x = static_cast<int>(blockIdx.x); }
__global__ void through_table_kernel(int* const* table) {
  *table[0] = static_cast<int>(threadIdx.x);
}
__global__ void float_sum_kernel(float* sum) {
  atomicAdd(sum, 1.0f / static_cast<float>(1 + threadIdx.x));
}

/// What a child process that runs fn() writes to its standard error before it dies.
std::string dying_words(const std::function<void()>& fn) {
  std::array<int, 2> ends{};
  REQUIRE(pipe(ends.data()) == 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    dup2(ends[1], STDOUT_FILENO);
    fn();
    _exit(0);
  }
  close(ends[1]);
  std::string words;
  std::array<char, 256> part{};
  for (ssize_t size = 0; (size = read(ends[0], part.data(), part.size())) > 0;) {
    words.append(part.data(), static_cast<std::size_t>(size));
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  CHECK_FALSE((WIFEXITED(status) && WEXITSTATUS(status) == 0));
  return words;
}

}  // namespace

TEST_CASE("emulator faults: barriers that not all threads reach") {
  check_fault(
      [] { run(early_exit_kernel, 64); },
      {"[emulator] kernel \"faulty\", block (0, 0, 0): barrier divergence", "33 of 64 threads",
       "emulator_faults.cpp:", "thread (33, 0, 0) has left the kernel"});
  check_fault([] { run(two_barriers_kernel, 32); }, {"barrier divergence", "emulator_faults.cpp:"});
  check_fault([] { run(barrier_and_shuffle_kernel, 32); }, {"divergence", "waits at"});
}

TEST_CASE("emulator faults: warp operations without some of their lanes") {
  check_fault([] { run(own_lane_missing_kernel, 16); },
              {"thread (0, 0, 0)", "0x0000fffe", "lane 0"});
  check_fault([] { run(full_mask_kernel, 40); }, {"lanes that do not exist", "has 8"});
  check_fault([] { run(lane_outside_mask_kernel, 32); }, {"reads lane 20", "0x0000ffff"});
  check_fault([] { run(exited_lane_kernel, 32); },
              {"warp divergence", "31 of 32", "thread (3, 0, 0) has left the kernel"});
  check_fault([] { run(two_masks_kernel, 32); }, {"warp divergence", "lane 0 at", "0xffff0001"});
}

TEST_CASE("emulator faults: after one, the next kernel runs") {
  const DeviceArray<float> x(std::vector<float>(64, 1.0f));
  check_fault([] { run(early_exit_kernel, 1024); }, {"barrier divergence"});
  run(reverse_kernel, 64, x.data(), true);
  CHECK(x.values() == std::vector<float>(64, 1.0f));
}

TEST_CASE("emulator faults: shared memory") {
  const DeviceArray<float> result(2);
  for (const int index : {64, -1, 1 << 20}) {
    check_fault([&] { run(outside_static_kernel, 1, index); },
                {"kernel \"faulty\", block (0, 0, 0), thread (0, 0, 0): shared memory index " +
                 std::to_string(index) + " is outside of 64 elements"});
  }
  check_fault([] { launch("faulty", outside_dynamic_kernel, 1, 1, 32, nullptr, 4); },
              {"shared memory index 4 is outside of 4 elements"});
  check_fault([] { launch("faulty", more_than_launched_kernel, 1, 1, 32, nullptr); },
              {"36 bytes of dynamic shared memory are used, but the launch gave 32"});
  check_fault([&] { run(unwritten_kernel, 2, result.data()); },
              {"thread (1, 0, 0): shared memory is read at index 1 before this block wrote it"});
  check_fault([&] { launch("faulty", unwritten_dynamic_kernel, 1, 1, 16, nullptr, result.data()); },
              {"read at index 1 before"});
  check_fault([&] { launch("faulty", from_other_block_kernel, 2, 1, 0, nullptr, result.data()); },
              {"block (1, 0, 0)", "read at index 0 before"});
  check_fault([] { run(much_static_kernel, 1); }, {"65536 bytes of static"});
}

TEST_CASE("emulator faults: pointers that a kernel may not use") {
  std::vector<float> host(16, 1.0f);
  const DeviceArray<float> x(host), y(16);
  check_fault([&] { run(misaligned_kernel, 1, x.data(), y.data()); },
              {"an access of 16 bytes", "is not aligned"});
  check_fault([&] { run(set_kernel, 1, host.data(), 0); },
              {"kernel \"faulty\": argument number 1 points to host memory"});
  check_fault(
      [&] {
        run(set_target_kernel, 1, Target{0, host.data()});
      },
      {"a pointer in argument number 1 points to host memory"});
  float* freed = nullptr;
  REQUIRE(cudaMalloc(&freed, 64) == cudaSuccess);
  REQUIRE(cudaFree(freed) == cudaSuccess);
  check_fault([&] { run(set_kernel, 1, freed, 0); },
              {"argument number 1", "not allocated, or was freed"});
  check_fault(
      [&] {
        run(set_target_kernel, 1, Target{0, freed});
      },
      {"not allocated, or was freed"});
  CHECK(cudaFree(freed) == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaErrorInvalidValue);
}

TEST_CASE("emulator faults: a graph that outlives its memory") {
  cudaStream_t stream = nullptr;
  float* x = nullptr;
  REQUIRE(cudaStreamCreate(&stream) == cudaSuccess);
  REQUIRE(cudaMalloc(&x, 64) == cudaSuccess);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  REQUIRE(launch("set", set_kernel, 1, 1, 0, stream, x, 0) == cudaSuccess);
  REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  REQUIRE(cudaGraphInstantiate(&executable, graph) == cudaSuccess);
  REQUIRE(cudaGraphLaunch(executable, stream) == cudaSuccess);
  REQUIRE(cudaFree(x) == cudaSuccess);
  check_fault([&] { cudaGraphLaunch(executable, stream); }, {"kernel \"set\"", "was freed"});
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

#if !defined(__SANITIZE_ADDRESS__)  // which stops the program at the access itself
TEST_CASE("emulator faults: writes beside an allocation") {
  const DeviceArray<float> x(std::vector<float>(5, 1.0f));
  check_fault([&] { run(set_kernel, 1, x.data(), 5); },
              {"kernel \"faulty\": memory right behind an allocation of 20 bytes was written"});
  check_fault([&] { run(set_kernel, 1, x.data(), -1); }, {"kernel \"faulty\"", "right before"});
  run(set_kernel, 1, x.data(), 4);
  CHECK(x.values() == std::vector<float>{1, 1, 1, 1, 3});
}

TEST_CASE("emulator faults: memory is freed behind a fault, whatever was written beside it") {
  check_fault(
      [] {
        const DeviceArray<float> x(std::vector<float>(5, 1.0f));
        run(write_and_early_exit_kernel, 64, x.data(), 5);
      },
      {"barrier divergence"});
}
#endif

TEST_CASE("emulator faults: copies and library calls outside of device memory") {
  std::vector<float> host(16, 1.0f);
  const DeviceArray<float> x(host), y(host);
  check_fault([&] { cudaMemcpy(host.data(), x.data(), 64, cudaMemcpyHostToDevice); },
              {"a copy's destination", "is not in allocated device memory"});
  check_fault([&] { cudaMemcpy(x.data() + 8, host.data(), 64, cudaMemcpyHostToDevice); },
              {"64 bytes at byte 32 of an allocation of 64 bytes"});
  check_fault([&] { cudaMemset(host.data(), 0, 4); }, {"cudaMemset"});
  cublasHandle_t handle = nullptr;
  REQUIRE(cublasCreate(&handle) == CUBLAS_STATUS_SUCCESS);
  const float one = 1, zero = 0;
  const auto product = [&](const float* a, float* c, int n) {
    cublasGemmEx(handle, CUBLAS_OP_N, CUBLAS_OP_N, 4, n, 4, &one, a, CUDA_R_32F, 4, x.data(),
                 CUDA_R_32F, 4, &zero, c, CUDA_R_32F, 4, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
  };
  product(x.data(), y.data(), 4);
  CHECK(y.values()[0] == 4);
  check_fault([&] { product(host.data(), y.data(), 4); }, {"cuBLAS, A", "not in allocated"});
  check_fault([&] { product(x.data() + 1, y.data(), 4); }, {"cuBLAS, A: 64 bytes at byte 4"});
  check_fault([&] { product(x.data(), y.data() + 1, 4); }, {"cuBLAS, C"});
  check_fault([&] { product(x.data(), y.data(), 5); }, {"cuBLAS, B: 80 bytes"});
  cublasDestroy(handle);
}

TEST_CASE("emulator faults: host code that touches device memory") {
  const DeviceArray<float> x(std::vector<float>(10, 1.0f));
  CHECK(dying_words([&] {
          *static_cast<volatile float*>(x.data()) = 2;
        }).find("host code accessed device memory at") != std::string::npos);
  CHECK(dying_words([&] {
          if (*static_cast<volatile float*>(x.data() + 3) == 1) _exit(0);
        }).find("(allocation of 40 bytes)") != std::string::npos);
}

TEST_CASE("emulator faults: a kernel that touches no memory at all") {
  const std::string words =
      dying_words([] { run(set_kernel, 1, static_cast<float*>(nullptr), 7); });
  CHECK(words.find("kernel \"faulty\", block (0, 0, 0), thread (0, 0, 0)") != std::string::npos);
}

TEST_CASE("emulator faults: results that depend on the order of threads or blocks") {
  std::vector<float> values(64);
  for (std::size_t i = 0; i < 64; ++i) values[i] = static_cast<float>(i);
  const DeviceArray<float> x(values), sum(std::vector<float>{0});
  const DeviceArray<int> y(std::vector<int>{0});
  const DeviceArray<int*> table(std::vector<int*>{y.data()});
  const std::string found = "kernel \"faulty\": the result depends on the order of threads";
  run(reverse_kernel, 64, x.data(), true);
  CHECK(x.values()[0] == 63);
  check_fault([&] { run(reverse_kernel, 64, x.data(), false); }, {found, "argument number 1"});
  check_fault([&] { run(last_wins_kernel, 2, y.data()); }, {found});
  check_fault([&] { launch("faulty", last_block_wins_kernel, 2, 1, 0, nullptr, y.data()); },
              {found});
  check_fault([&] { run(through_table_kernel, 2, table.data()); }, {found, "of the 4"});
  check_fault([&] { run(float_sum_kernel, 100, sum.data()); }, {found});

  emulator::set_order_check(false);
  run(last_wins_kernel, 2, y.data());
  emulator::set_order_check(true);
  CHECK(y.values()[0] == 1);
}

TEST_CASE("emulator faults: launches beyond the device's limits") {
  const DeviceArray<float> x(1);
  const auto refused = [&](dim3 grid, dim3 block, std::size_t shared) {
    const cudaError_t status = launch("set", set_kernel, grid, block, shared, nullptr, x.data(), 0);
    CHECK(cudaGetLastError() == status);
    return status;
  };
  CHECK(refused(1, 1024, 0) == cudaSuccess);
  CHECK(refused(1, 1025, 0) == cudaErrorInvalidConfiguration);
  CHECK(refused(1, dim3(32, 32, 2), 0) == cudaErrorInvalidConfiguration);
  CHECK(emulator::refusal() == "a block of 32 x 32 x 2 threads; at most 1024 in all");
  CHECK(refused(1, dim3(1, 1, 65), 0) == cudaErrorInvalidConfiguration);
  CHECK(refused(1, 0, 0) == cudaErrorInvalidConfiguration);
  CHECK(refused(0, 1, 0) == cudaErrorInvalidConfiguration);
  CHECK(refused(dim3(1, 65536), 1, 0) == cudaErrorInvalidConfiguration);
  CHECK(refused(dim3(1, 1, 65536), 1, 0) == cudaErrorInvalidConfiguration);
  CHECK(refused(0x80000000u, 1, 0) == cudaErrorInvalidConfiguration);
  CHECK(refused(1, 1, 48 * 1024) == cudaSuccess);
  CHECK(refused(1, 1, 48 * 1024 + 1) == cudaErrorInvalidValue);
  const auto raise = [](int bytes) {
    return cudaFuncSetAttribute(set_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  };
  CHECK(raise(227 * 1024 + 1) == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaErrorInvalidValue);
  CHECK(raise(100 * 1024) == cudaSuccess);
  CHECK(refused(1, 1, 100 * 1024) == cudaSuccess);
  CHECK(refused(1, 1, 100 * 1024 + 1) == cudaErrorInvalidValue);
  CHECK(raise(227 * 1024) == cudaSuccess);
  CHECK(refused(1, 1, 227 * 1024) == cudaSuccess);
}

TEST_CASE("emulator faults: device memory ends") {
  std::size_t free = 0, total = 0;
  REQUIRE(cudaMemGetInfo(&free, &total) == cudaSuccess);
  emulator::set_memory_limit(total - free + 1000);
  void* first = nullptr;
  void* second = nullptr;
  CHECK(cudaMalloc(&first, 600) == cudaSuccess);
  CHECK(cudaMalloc(&second, 500) == cudaErrorMemoryAllocation);
  CHECK(second == nullptr);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
  std::size_t left = 0;
  REQUIRE(cudaMemGetInfo(&left, &total) == cudaSuccess);
  CHECK(left == 400);
  CHECK(cudaFree(first) == cudaSuccess);
  CHECK(cudaMalloc(&second, 500) == cudaSuccess);
  CHECK(cudaFree(second) == cudaSuccess);
  emulator::set_memory_limit(std::size_t{4096} << 20);
}
