#include "tensor/cpu/gemm.h"
#include "tensor/kernels.h"

namespace gradus::cpu {

template <class T>
void matmul(const T* a, const T* b, T* c, const MatmulGeometry& g) {
  const std::int64_t lda = g.transpose_a ? g.m : g.k;
  const std::int64_t ldb = g.transpose_b ? g.k : g.n;
  for (std::int64_t i = 0; i < g.batch; ++i)
    gemm<T>(g.transpose_a, g.transpose_b, g.m, g.n, g.k, T{1}, a + i * g.m * g.k, lda,
            b + i * g.k * g.n, ldb, T{0}, c + i * g.m * g.n, g.n);
}

template void matmul(const float*, const float*, float*, const MatmulGeometry&);
template void matmul(const double*, const double*, double*, const MatmulGeometry&);

}  // namespace gradus::cpu
