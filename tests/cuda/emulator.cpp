// The emulated GPU: kernels that are right run right.
#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <curand_kernel.h>
#include <doctest/doctest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include <gradus/tensor/bfloat16.h>
#include <gradus/tensor/check.h>
#include "tensor/cuda/shared_array.h"
#include "tests/cuda/device_array.h"
#include "tests/support/compare.h"

using namespace gradus;
using namespace gradus::cuda;
using emulator::launch;

namespace {

__device__ float warp_sum(float x) {
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(~0u, x, distance);
  return x;
}

/// x [count] -> sums [blocks]
__global__ void block_sum_kernel(const float* x, float* sums, int count) {
  __shared__ SharedArray<float, 32> partial;
  const int thread = static_cast<int>(threadIdx.x), warps = static_cast<int>(blockDim.x) / 32;
  float sum = 0;
  for (int i = static_cast<int>(blockIdx.x * blockDim.x) + thread; i < count;
       i += static_cast<int>(gridDim.x * blockDim.x)) {
    sum += x[i];
  }
  sum = warp_sum(sum);
  if (thread % 32 == 0) partial[thread / 32] = sum;
  __syncthreads();
  if (thread >= 32) return;
  sum = warp_sum(thread < warps ? static_cast<float>(partial[thread]) : 0.0f);
  if (thread == 0) sums[blockIdx.x] = sum;
}

/// x [rows, columns] -> y [columns, rows]; blocks of 32 x 8 threads move tiles of 32 x 32.
__global__ void transpose_kernel(const float* x, float* y, int rows, int columns) {
  const auto tile = dynamic_shared<float>(32 * 33);
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
  const int column0 = static_cast<int>(blockIdx.x) * 32, row0 = static_cast<int>(blockIdx.y) * 32;
  for (int i = ty; i < 32; i += 8) {
    if (row0 + i < rows && column0 + tx < columns) {
      tile[i * 33 + tx] = x[(row0 + i) * columns + column0 + tx];
    }
  }
  __syncthreads();
  for (int i = ty; i < 32; i += 8) {
    if (column0 + i < columns && row0 + tx < rows) {
      y[(column0 + i) * rows + row0 + tx] = tile[tx * 33 + i];
    }
  }
}

/// y = 2 x, four at a time
__global__ void double_kernel(const float* x, float* y, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (4 * i >= count) return;
  Vector<float, 4> v = load_vector<4>(x + 4 * i);
  for (int j = 0; j < 4; ++j) v[j] *= 2;
  store_vector(y + 4 * i, v);
}

/// Counts x modulo 8 in shared memory, then in counts [8].
__global__ void histogram_kernel(const int* x, int* counts, int* largest, int count) {
  __shared__ SharedArray<int, 8> local;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < 8) local[thread] = 0;
  __syncthreads();
  const int i = static_cast<int>(blockIdx.x * blockDim.x) + thread;
  if (i < count) {
    atomicAdd(&local[x[i] % 8], 1);
    atomicMax(largest, x[i]);
  }
  __syncthreads();
  if (thread < 8) atomicAdd(&counts[thread], static_cast<int>(local[thread]));
}

/// What each lane of the only warp sees: [operation, 32]
__global__ void warp_kernel(int* seen) {
  const int lane = static_cast<int>(threadIdx.x);
  const auto store = [&](int operation, int value) { seen[operation * 32 + lane] = value; };
  store(0, __shfl_sync(~0u, lane * 10, 7));
  store(1, __shfl_down_sync(~0u, lane, 3));
  store(2, __shfl_up_sync(~0u, lane, 3));
  store(3, __shfl_xor_sync(~0u, lane, 1, 8));
  store(4, __shfl_sync(~0u, lane, 2, 8));
  store(5, static_cast<int>(__ballot_sync(~0u, lane % 2)));
  store(6, __any_sync(~0u, lane == 5));
  store(7, __all_sync(~0u, lane < 31));
  const unsigned half = lane < 16 ? 0xFFFFu : 0xFFFF0000u;
  if (lane < 16) {
    store(8, __shfl_sync(half, lane, 0));
  } else {
    store(8, __shfl_sync(half, lane, 16));
  }
  __syncwarp();
  const double large = __shfl_xor_sync(~0u, 1e300 * lane, 31);
  store(9, static_cast<int>(large / 1e300 + 0.5));
}

__global__ void vote_kernel(int* votes) {
  const int thread = static_cast<int>(threadIdx.x);
  const int any = __syncthreads_or(thread == 40), all = __syncthreads_and(thread != 40);
  const int count = __syncthreads_count(thread < 40);
  if (thread == 63) {
    votes[0] = any;
    votes[1] = all;
    votes[2] = count;
  }
}

struct Pair {
  const float* from;
  float* to;
};
__global__ void copy_pair_kernel(Pair pair) { pair.to[threadIdx.x] = pair.from[threadIdx.x]; }

__global__ void philox_kernel(uint4* result) {
  *result = curand_Philox4x32_10(make_uint4(1, 2, 3, 4), make_uint2(5, 6));
}

template <class T>
std::vector<T> ramp(std::size_t count, T scale = T(1)) {
  std::vector<T> values(count);
  for (std::size_t i = 0; i < count; ++i)
    values[i] = static_cast<T>(scale * static_cast<T>(i % 97));
  return values;
}

}  // namespace

TEST_CASE("emulator: a reduction with shuffles, shared memory and a barrier") {
  const int count = 5000;
  const std::vector<float> x = ramp<float>(count);
  const DeviceArray<float> device_x(x), sums(3);
  REQUIRE(launch("block_sum", block_sum_kernel, 3, 256, 0, nullptr, device_x.data(), sums.data(),
                 count) == cudaSuccess);
  const std::vector<float> result = sums.values();
  CHECK(result[0] + result[1] + result[2] == std::accumulate(x.begin(), x.end(), 0.0f));
}

TEST_CASE("emulator: a transpose through dynamic shared memory") {
  const int rows = 45, columns = 70;
  const std::vector<float> x = ramp<float>(rows * columns, 0.5f);
  const DeviceArray<float> device_x(x), y(rows * columns);
  REQUIRE(launch("transpose", transpose_kernel, dim3(3, 2), dim3(32, 8), 32 * 33 * sizeof(float),
                 nullptr, device_x.data(), y.data(), rows, columns) == cudaSuccess);
  const std::vector<float> result = y.values();
  int wrong = 0;
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < columns; ++j) wrong += result[j * rows + i] != x[i * columns + j];
  }
  CHECK(wrong == 0);
}

TEST_CASE("emulator: wide accesses") {
  const std::vector<float> x = ramp<float>(64);
  const DeviceArray<float> device_x(x), y(64);
  REQUIRE(launch("double", double_kernel, 1, 32, 0, nullptr, device_x.data(), y.data(), 64) ==
          cudaSuccess);
  const std::vector<float> result = y.values();
  for (int i = 0; i < 64; ++i) CHECK(result[i] == 2 * x[i]);
}

TEST_CASE("emulator: atomic operations on shared and device memory") {
  const std::vector<int> x = ramp<int>(1000);
  const DeviceArray<int> device_x(x), counts(std::vector<int>(8, 0)), largest(std::vector<int>{0});
  REQUIRE(launch("histogram", histogram_kernel, 4, 256, 0, nullptr, device_x.data(), counts.data(),
                 largest.data(), 1000) == cudaSuccess);
  std::vector<int> expected(8, 0);
  for (const int value : x) ++expected[value % 8];
  CHECK(counts.values() == expected);
  CHECK(largest.values()[0] == 96);
}

TEST_CASE("emulator: shuffles and votes") {
  const DeviceArray<int> seen(10 * 32);
  REQUIRE(launch("warp", warp_kernel, 1, 32, 0, nullptr, seen.data()) == cudaSuccess);
  const std::vector<int> result = seen.values();
  for (int lane = 0; lane < 32; ++lane) {
    CAPTURE(lane);
    const auto of = [&](int operation) { return result[operation * 32 + lane]; };
    CHECK(of(0) == 70);
    CHECK(of(1) == (lane + 3 < 32 ? lane + 3 : lane));
    CHECK(of(2) == (lane >= 3 ? lane - 3 : lane));
    CHECK(of(3) == (lane ^ 1));
    CHECK(of(4) == lane / 8 * 8 + 2);
    CHECK(static_cast<unsigned>(of(5)) == 0xAAAAAAAAu);
    CHECK(of(6) == 1);
    CHECK(of(7) == 0);
    CHECK(of(8) == (lane < 16 ? 0 : 16));
    CHECK(of(9) == (lane ^ 31));
  }
  const DeviceArray<int> votes(3);
  REQUIRE(launch("vote", vote_kernel, 1, 64, 0, nullptr, votes.data()) == cudaSuccess);
  CHECK(votes.values() == std::vector<int>{1, 0, 40});
}

TEST_CASE("emulator: pointers in a struct") {
  const std::vector<float> x = ramp<float>(32);
  const DeviceArray<float> from(x), to(32);
  REQUIRE(launch("copy_pair", copy_pair_kernel, 1, 32, 0, nullptr, Pair{from.data(), to.data()}) ==
          cudaSuccess);
  CHECK(to.values() == x);
}

TEST_CASE("emulator: cuRAND's Philox is ours") {
  const DeviceArray<uint4> result(1);
  REQUIRE(launch("philox", philox_kernel, 1, 1, 0, nullptr, result.data()) == cudaSuccess);
  const uint4 drawn = result.values()[0];
  const PhiloxBlock expected = philox(5 | 6ull << 32, 1 | 2ull << 32, 3 | 4ull << 32);
  CHECK(drawn.x == expected.word[0]);
  CHECK(drawn.y == expected.word[1]);
  CHECK(drawn.z == expected.word[2]);
  CHECK(drawn.w == expected.word[3]);
}

TEST_CASE("emulator: copies, fills, and what was never written") {
  const DeviceArray<float> x(std::vector<float>{1, 2, 3, 4}), y(4);
  for (const float value : y.values()) CHECK(std::isnan(value));
  REQUIRE(cudaMemcpy(y.data() + 1, x.data(), 8, cudaMemcpyDeviceToDevice) == cudaSuccess);
  REQUIRE(cudaMemset(y.data(), 0, 4) == cudaSuccess);
  const std::vector<float> result = y.values();
  CHECK(result[0] == 0);
  CHECK(result[1] == 1);
  CHECK(result[2] == 2);
  CHECK(std::isnan(result[3]));
  float back = 0;
  REQUIRE(cudaMemcpy(&back, x.data() + 3, 4, cudaMemcpyDefault) == cudaSuccess);
  CHECK(back == 4);
}

namespace {

/// All operands' types of a product, and how exact it is.
struct ProductTypes {
  cudaDataType input, output;
  cublasComputeType_t compute;
  double tolerance;
};

std::vector<unsigned char> encode(const std::vector<double>& values, cudaDataType type) {
  std::vector<unsigned char> bytes;
  const auto append = [&](auto value) {
    const auto* begin = reinterpret_cast<const unsigned char*>(&value);
    bytes.insert(bytes.end(), begin, begin + sizeof(value));
  };
  for (const double value : values) {
    if (type == CUDA_R_64F) append(value);
    if (type == CUDA_R_32F) append(static_cast<float>(value));
    if (type == CUDA_R_16BF) append(BFloat16(static_cast<float>(value)));
  }
  return bytes;
}

double decode(const std::vector<unsigned char>& bytes, std::size_t i, cudaDataType type) {
  const auto as = [&](auto value) {
    std::memcpy(&value, bytes.data() + i * sizeof(value), sizeof(value));
    return value;
  };
  if (type == CUDA_R_64F) return as(0.0);
  if (type == CUDA_R_32F) return as(0.0f);
  return static_cast<float>(as(BFloat16(0.0f)));
}

/// Two products [m, k] x [k, n] with room between the columns, against sums over k.
void check_product(const ProductTypes& types, bool transpose_a, bool transpose_b, double beta) {
  const int m = 5, n = 7, k = 9, batch = 2, lda = 11, ldb = 12, ldc = 6;
  const int a_size = lda * (transpose_a ? m : k), b_size = ldb * (transpose_b ? k : n);
  std::vector<double> a, b, c;
  for (int i = 0; i < batch * a_size; ++i) a.push_back((i * 37 % 64 - 32) / 32.0);
  for (int i = 0; i < batch * b_size; ++i) b.push_back((i * 29 % 64 - 32) / 32.0);
  for (int i = 0; i < batch * ldc * n; ++i) c.push_back(beta == 0 ? std::nan("") : i % 16 / 8.0);
  const DeviceArray<unsigned char> device_a(encode(a, types.input)),
      device_b(encode(b, types.input)), device_c(encode(c, types.output));
  cublasHandle_t handle = nullptr;
  REQUIRE(cublasCreate(&handle) == CUBLAS_STATUS_SUCCESS);
  const double alpha = 0.5;
  const float alpha32 = 0.5f, beta32 = static_cast<float>(beta);
  const bool is_double = types.compute == CUBLAS_COMPUTE_64F;
  REQUIRE(cublasGemmStridedBatchedEx(
              handle, transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N,
              transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N, m, n, k,
              is_double ? static_cast<const void*>(&alpha) : &alpha32, device_a.data(), types.input,
              lda, a_size, device_b.data(), types.input, ldb, b_size,
              is_double ? static_cast<const void*>(&beta) : &beta32, device_c.data(), types.output,
              ldc, ldc * n, batch, types.compute, CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS);
  cublasDestroy(handle);
  const std::vector<unsigned char> result = device_c.values();
  std::vector<double> actual, wanted;
  for (int p = 0; p < batch; ++p) {
    for (int i = 0; i < m; ++i) {
      for (int j = 0; j < n; ++j) {
        double expected = beta == 0 ? 0 : beta * c[p * ldc * n + j * ldc + i];
        for (int l = 0; l < k; ++l) {
          expected += alpha * a[p * a_size + (transpose_a ? i * lda + l : l * lda + i)] *
                      b[p * b_size + (transpose_b ? l * ldb + j : j * ldb + l)];
        }
        actual.push_back(decode(result, p * ldc * n + j * ldc + i, types.output));
        wanted.push_back(expected);
      }
    }
  }
  CHECK(test::relative_error(actual, wanted) <= types.tolerance);
}

}  // namespace

TEST_CASE("emulator: cuBLAS's products of every type, transposed and not") {
  // The inputs are exact in all types, so only the output rounds.
  const ProductTypes all[] = {{CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F, 1e-6},
                              {CUDA_R_64F, CUDA_R_64F, CUBLAS_COMPUTE_64F, 1e-14},
                              {CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F, 1e-6},
                              {CUDA_R_16BF, CUDA_R_16BF, CUBLAS_COMPUTE_32F, 0.02}};
  for (const ProductTypes& types : all) {
    for (const bool transpose_a : {false, true}) {
      for (const bool transpose_b : {false, true}) {
        for (const double beta : {0.0, 1.0, 0.25}) {
          CAPTURE(static_cast<int>(types.input));
          CAPTURE(transpose_a);
          CAPTURE(transpose_b);
          check_product(types, transpose_a, transpose_b, beta);
        }
      }
    }
  }
}

TEST_CASE("emulator: TF32 rounds the inputs of fp32 products, and only there") {
  cublasHandle_t handle = nullptr;
  REQUIRE(cublasCreate(&handle) == CUBLAS_STATUS_SUCCESS);
  const float x = 1.0f + 0x1p-12f, one = 1.0f, zero = 0.0f;  // 12 bits of mantissa
  const DeviceArray<float> a(std::vector<float>{x}), b(std::vector<float>{1.0f}), c(1);
  const auto product = [&](cublasComputeType_t type) {
    REQUIRE(cublasGemmEx(handle, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, &one, a.data(), CUDA_R_32F, 1,
                         b.data(), CUDA_R_32F, 1, &zero, c.data(), CUDA_R_32F, 1, type,
                         CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS);
    return c.values()[0];
  };
  CHECK(product(CUBLAS_COMPUTE_32F) == x);
  CHECK(product(CUBLAS_COMPUTE_32F_FAST_TF32) == 1.0f);
  cublasDestroy(handle);
}
