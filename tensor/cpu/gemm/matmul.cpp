#include <type_traits>

#include "tensor/backend/instantiate.h"
#include "tensor/cpu/gemm/gemm.h"
#include "tensor/cpu/gemm/product.h"
#include "tensor/cpu/parallel.h"

namespace gradus::cpu {

template <class T, class Out>
void matmul(const T* a, const T* b, Out* c, const MatmulGeometry& g) {
  for (std::int64_t i = 0; i < g.batch; ++i, a += g.m * g.k, b += g.k * g.n, c += g.m * g.n) {
    if constexpr (std::is_same_v<T, double>) {
      constexpr std::int64_t rows = 128;  // of c, at a time
      parallel_blocks(g.m, rows, [&](std::int64_t begin, std::int64_t end) {
        gemm<T>(g.transpose_a, g.transpose_b, end - begin, g.n, g.k, g.scale,
                a + begin * (g.transpose_a ? 1 : g.k), g.transpose_a ? g.m : g.k, b,
                g.transpose_b ? g.k : g.n, T{0}, c + begin * g.n, g.n);
      });
    } else {
      multiply_blocked(a, b, c, g);
    }
  }
}

GRADUS_INSTANTIATE(matmul<float, float>)
GRADUS_INSTANTIATE(matmul<double, double>)
GRADUS_INSTANTIATE(matmul<BFloat16, float>)
GRADUS_INSTANTIATE(matmul<BFloat16, BFloat16>)

}  // namespace gradus::cpu
