#include <cmath>

#include <gradus/tensor/ops.h>
#include "tensor/ops/support.h"

namespace gradus {

LogDet logdet(const Tensor& x) {
  constexpr std::string_view op = "logdet";
  check_defined(op, "x", x);
  check((x.rank() == 2 || x.rank() == 3) && x.size(-1) == x.size(-2), op,
        "x must be a square matrix or a batch of them; got {}", x.shape());
  const bool batched = x.rank() == 3;
  const std::int64_t batch = batched ? x.size(0) : 1, n = x.size(-1);
  LogDet result{empty(batched ? Shape{batch} : Shape{}, options_of(x)),
                empty(x.shape(), options_of(x))};
  dispatch_full_precision(op, x.dtype(), [&]<class T>() {
    GRADUS_KERNEL(x.device(),
                  logdet(x.data<T>(), result.value.data<T>(), result.inverse.data<T>(), batch, n));
    if (x.device() != Device::cpu) return;
    for (std::int64_t i = 0; i < batch; ++i) {
      if (!std::isnan(result.value.data<T>()[i])) continue;
      const Tensor matrix = batched ? slice(x, 0, i, i + 1) : x;
      check(!all_finite(matrix), op, "matrix {} of {} is not positive definite; x is {}", i, batch,
            x.shape());
    }
  });
  return result;
}

}  // namespace gradus
