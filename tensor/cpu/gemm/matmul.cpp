#include <type_traits>

#include "tensor/backend/kernels.h"
#include "tensor/cpu/gemm/gemm.h"
#include "tensor/cpu/gemm/product.h"

namespace gradus::cpu {

template <class T, class Out>
void matmul(const T* a, const T* b, Out* c, const MatmulGeometry& g) {
  for (std::int64_t i = 0; i < g.batch; ++i, a += g.m * g.k, b += g.k * g.n, c += g.m * g.n) {
    if constexpr (std::is_same_v<T, double>) {
      gemm<T>(g.transpose_a, g.transpose_b, g.m, g.n, g.k, g.scale, a, g.transpose_a ? g.m : g.k, b,
              g.transpose_b ? g.k : g.n, T{0}, c, g.n);
    } else {
      multiply_blocked(a, b, c, g);
    }
  }
}

template void matmul(const float*, const float*, float*, const MatmulGeometry&);
template void matmul(const double*, const double*, double*, const MatmulGeometry&);
template void matmul(const BFloat16*, const BFloat16*, float*, const MatmulGeometry&);
template void matmul(const BFloat16*, const BFloat16*, BFloat16*, const MatmulGeometry&);

}  // namespace gradus::cpu
