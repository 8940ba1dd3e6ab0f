#include <gradus/tensor/ops.h>
#include "tensor/ops/support.h"

namespace gradus {

Tensor matmul(const Tensor& a, const Tensor& b, MatmulOptions options) {
  check_same_kind("matmul", "a", a, "b", b);
  check((a.rank() == 2 && b.rank() == 2) || (a.rank() == 3 && b.rank() == 3), "matmul",
        "a and b must both be matrices or both be batches of them; got {} and {}", a.shape(),
        b.shape());
  const bool batched = a.rank() == 3;
  check(!batched || a.size(0) == b.size(0), "matmul",
        "a and b must have equally many matrices; got {} and {}", a.shape(), b.shape());
  MatmulGeometry g{.batch = batched ? a.size(0) : 1,
                   .m = options.transpose_a ? a.size(-1) : a.size(-2),
                   .n = options.transpose_b ? b.size(-2) : b.size(-1),
                   .k = options.transpose_a ? a.size(-2) : a.size(-1),
                   .transpose_a = options.transpose_a,
                   .transpose_b = options.transpose_b,
                   .scale = options.scale,
                   .symmetric = options.symmetric};
  check(g.k == (options.transpose_b ? b.size(-1) : b.size(-2)), "matmul",
        "inner sizes must match; got {}{} and {}{}", a.shape(),
        options.transpose_a ? " transposed" : "", b.shape(),
        options.transpose_b ? " transposed" : "");
  check(!g.symmetric || g.m == g.n, "matmul", "a symmetric product must be square; got {}x{}", g.m,
        g.n);
  const DType dtype = options.output_dtype.value_or(a.dtype());
  check(dtype == a.dtype() || dtype == compute_dtype(a.dtype()), "matmul",
        "output_dtype must be the inputs' type, or float32 for bfloat16; got {} for {}",
        name(dtype), name(a.dtype()));
  Tensor c = empty(batched ? Shape{g.batch, g.m, g.n} : Shape{g.m, g.n}, {dtype, a.device()});
  dispatch_floating("matmul", a.dtype(), [&]<class T>() {
    const auto multiply_into = [&]<class Out>() {
      GRADUS_KERNEL(a.device(), matmul(a.data<T>(), b.data<T>(), c.data<Out>(), g));
    };
    if (dtype == a.dtype()) {
      multiply_into.template operator()<T>();
    } else {
      multiply_into.template operator()<Compute<T>>();
    }
  });
  return c;
}

}  // namespace gradus
