// cuBLAS's matrix products, by the CPU's (tensor/cpu/gemm/gemm.h).
#include <cublas_v2.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include <gradus/tensor/bfloat16.h>
#include <gradus/tensor/check.h>
#include "tensor/cpu/gemm/gemm.h"
#include "tensor/cuda/emulator/memory.h"
#include "tensor/cuda/emulator/stream.h"

struct cublasContext {
  cudaStream_t stream = nullptr;
};

using namespace gradus::cuda::emulator;

namespace gradus::cuda::emulator {
namespace {

/// A matrix in device memory, column-major: element (i, j) at data[i + j * stride].
struct Matrix {
  const void* data;
  cudaDataType type;
  int rows, columns;
  int stride;
  long long batch_stride;  // to the same matrix of the next product
};

struct Product {
  bool transpose_a, transpose_b;
  int m, n, k;
  double alpha, beta;
  Matrix a, b, c;
  int batch;
  bool tf32;  // round inputs to TF32, as tensor cores do
};

std::size_t size_of(cudaDataType type) {
  return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : 2;
}

/// Matrix `index` of a batch; faults unless all of it is device memory.
Matrix locate(const Matrix& matrix, int index, const char* name) {
  Matrix one = matrix;
  const std::size_t size = size_of(matrix.type);
  one.data = static_cast<const char*>(matrix.data) +
             index * matrix.batch_stride * static_cast<long long>(size);
  if (one.rows == 0 || one.columns == 0) return one;
  const std::size_t elements =
      static_cast<std::size_t>(one.columns - 1) * static_cast<std::size_t>(one.stride) +
      static_cast<std::size_t>(one.rows);
  DeviceMemory::instance().require(one.data, elements * size, name);
  return one;
}

/// Rounds to TF32, 10 bits of mantissa: to nearest, ties to even.
float round_to_tf32(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7F800000u) == 0x7F800000u) return x;
  return std::bit_cast<float>((bits + 0xFFFu + (bits >> 13 & 1u)) & ~0x1FFFu);
}

/// A copy in float32, with columns of `rows` elements.
std::vector<float> to_float(const Matrix& matrix, bool tf32) {
  const auto rows = static_cast<std::size_t>(matrix.rows);
  std::vector<float> result(rows * static_cast<std::size_t>(matrix.columns));
  for (std::size_t j = 0; j < static_cast<std::size_t>(matrix.columns); ++j) {
    const std::size_t from = j * static_cast<std::size_t>(matrix.stride);
    float* to = result.data() + j * rows;
    if (matrix.type == CUDA_R_32F) {
      std::copy_n(static_cast<const float*>(matrix.data) + from, rows, to);
      if (tf32) std::transform(to, to + rows, to, round_to_tf32);
    } else {
      std::copy_n(static_cast<const BFloat16*>(matrix.data) + from, rows, to);
    }
  }
  return result;
}

/// c = alpha op(a) op(b) + beta c, column-major; read by rows, it is the product of the transposed
/// matrices in the other order.
template <class T>
void multiply_columns(const Product& p, const T* a, int lda, const T* b, int ldb, T* c, int ldc) {
  cpu::gemm<T>(p.transpose_b, p.transpose_a, p.n, p.m, p.k, static_cast<T>(p.alpha), b, ldb, a, lda,
               static_cast<T>(p.beta), c, ldc);
}

void multiply_double(const Product& p, const Matrix& a, const Matrix& b, const Matrix& c) {
  multiply_columns(p, static_cast<const double*>(a.data), a.stride,
                   static_cast<const double*>(b.data), b.stride,
                   static_cast<double*>(const_cast<void*>(c.data)), c.stride);
}

/// float32 arithmetic whatever the operands' types are.
void multiply_float(const Product& p, const Matrix& a, const Matrix& b, const Matrix& c) {
  const std::vector<float> a_values = to_float(a, p.tf32), b_values = to_float(b, p.tf32);
  std::vector<float> c_values(static_cast<std::size_t>(p.m) * static_cast<std::size_t>(p.n));
  if (p.beta != 0) c_values = to_float(c, false);
  multiply_columns(p, a_values.data(), std::max(1, a.rows), b_values.data(), std::max(1, b.rows),
                   c_values.data(), p.m);
  const auto rows = static_cast<std::size_t>(p.m);
  for (std::size_t j = 0; j < static_cast<std::size_t>(p.n); ++j) {
    const float* from = c_values.data() + j * rows;
    const std::size_t to = j * static_cast<std::size_t>(c.stride);
    void* data = const_cast<void*>(c.data);
    if (c.type == CUDA_R_32F) {
      std::copy_n(from, rows, static_cast<float*>(data) + to);
    } else {
      std::transform(from, from + rows, static_cast<BFloat16*>(data) + to,
                     [](float x) { return BFloat16(x); });
    }
  }
}

cudaError_t execute(const Product& p) {
  const DeviceAccess access;
  for (int index = 0; index < p.batch; ++index) {
    const Matrix a = locate(p.a, index, "cuBLAS, A"), b = locate(p.b, index, "cuBLAS, B");
    const Matrix c = locate(p.c, index, "cuBLAS, C");
    if (c.type == CUDA_R_64F) {
      multiply_double(p, a, b, c);
    } else {
      multiply_float(p, a, b, c);
    }
  }
  return cudaSuccess;
}

bool is_supported(const Product& p, cublasComputeType_t compute) {
  if (compute == CUBLAS_COMPUTE_64F) {
    return p.a.type == CUDA_R_64F && p.b.type == CUDA_R_64F && p.c.type == CUDA_R_64F;
  }
  if (p.a.type != p.b.type || p.a.type == CUDA_R_64F) return false;
  return p.c.type == CUDA_R_32F || (p.a.type == CUDA_R_16BF && p.c.type == CUDA_R_16BF);
}

cublasStatus_t submit_product(cublasHandle_t handle, const Product& p,
                              cublasComputeType_t compute) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  const auto valid = [](const Matrix& matrix) {
    return matrix.rows >= 0 && matrix.columns >= 0 && matrix.stride >= std::max(1, matrix.rows);
  };
  if (!valid(p.a) || !valid(p.b) || !valid(p.c) || p.batch < 0) return CUBLAS_STATUS_INVALID_VALUE;
  if (!is_supported(p, compute)) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (p.m == 0 || p.n == 0) return CUBLAS_STATUS_SUCCESS;
  const cudaError_t status = enqueue(handle->stream, [p] { return execute(p); });
  return status == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

}  // namespace
}  // namespace gradus::cuda::emulator

const char* cublasGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
  }
  return "CUBLAS_STATUS_UNKNOWN";
}
const char* cublasGetStatusString(cublasStatus_t status) { return cublasGetStatusName(status); }

cublasStatus_t cublasCreate(cublasHandle_t* handle) {
  *handle = new cublasContext;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy(cublasHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetWorkspace(cublasHandle_t, void* workspace, std::size_t bytes) {
  DeviceMemory::instance().require(workspace, bytes, "cuBLAS's workspace");
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t) { return CUBLAS_STATUS_SUCCESS; }

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t transa,
                                          cublasOperation_t transb, int m, int n, int k,
                                          const void* alpha, const void* a, cudaDataType a_type,
                                          int lda, long long stride_a, const void* b,
                                          cudaDataType b_type, int ldb, long long stride_b,
                                          const void* beta, void* c, cudaDataType c_type, int ldc,
                                          long long stride_c, int batch,
                                          cublasComputeType_t compute, cublasGemmAlgo_t) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  const auto scalar = [&](const void* value) {
    return compute == CUBLAS_COMPUTE_64F ? *static_cast<const double*>(value)
                                         : double{*static_cast<const float*>(value)};
  };
  const bool transpose_a = transa != CUBLAS_OP_N, transpose_b = transb != CUBLAS_OP_N;
  const bool tf32 = compute == CUBLAS_COMPUTE_32F_FAST_TF32;
  const Product product{transpose_a,
                        transpose_b,
                        m,
                        n,
                        k,
                        scalar(alpha),
                        scalar(beta),
                        {a, a_type, transpose_a ? k : m, transpose_a ? m : k, lda, stride_a},
                        {b, b_type, transpose_b ? n : k, transpose_b ? k : n, ldb, stride_b},
                        {c, c_type, m, n, ldc, stride_c},
                        batch,
                        tf32};
  return submit_product(handle, product, compute);
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t transa,
                            cublasOperation_t transb, int m, int n, int k, const void* alpha,
                            const void* a, cudaDataType a_type, int lda, const void* b,
                            cudaDataType b_type, int ldb, const void* beta, void* c,
                            cudaDataType c_type, int ldc, cublasComputeType_t compute,
                            cublasGemmAlgo_t algorithm) {
  return cublasGemmStridedBatchedEx(handle, transa, transb, m, n, k, alpha, a, a_type, lda, 0, b,
                                    b_type, ldb, 0, beta, c, c_type, ldc, 0, 1, compute, algorithm);
}
