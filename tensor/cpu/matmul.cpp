#include "tensor/cpu/gemm.h"
#include "tensor/kernels.h"
#include "tensor/tensor.h"

namespace gradus::cpu {

namespace {

Tensor to_float(const BFloat16* x, std::int64_t n) {
  Tensor y({n}, DType::float32, Device::cpu);
  cast(x, y.data<float>(), n);
  return y;
}

}  // namespace

template <class T, class Out>
void matmul(const T* a, const T* b, Out* c, const MatmulGeometry& g) {
  const std::int64_t lda = g.transpose_a ? g.m : g.k;
  const std::int64_t ldb = g.transpose_b ? g.k : g.n;
  for (std::int64_t i = 0; i < g.batch; ++i)
    gemm<T>(g.transpose_a, g.transpose_b, g.m, g.n, g.k, static_cast<T>(g.scale), a + i * g.m * g.k,
            lda, b + i * g.k * g.n, ldb, T{0}, c + i * g.m * g.n, g.n);
}

template <>
void matmul(const BFloat16* a, const BFloat16* b, float* c, const MatmulGeometry& g) {
  const Tensor a_float = to_float(a, g.batch * g.m * g.k);
  const Tensor b_float = to_float(b, g.batch * g.k * g.n);
  matmul(a_float.data<float>(), b_float.data<float>(), c, g);
}

template <>
void matmul(const BFloat16* a, const BFloat16* b, BFloat16* c, const MatmulGeometry& g) {
  const std::int64_t elements = g.batch * g.m * g.n;
  Tensor c_float({elements}, DType::float32, Device::cpu);
  matmul(a, b, c_float.data<float>(), g);
  cast(c_float.data<float>(), c, elements);
}

template void matmul(const float*, const float*, float*, const MatmulGeometry&);
template void matmul(const double*, const double*, double*, const MatmulGeometry&);

}  // namespace gradus::cpu
