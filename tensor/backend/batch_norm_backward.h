// What the two halves of batch_norm's backward read and write.
#pragma once

#include <cstdint>

#include <gradus/tensor/bfloat16.h>

namespace gradus {

/// dy, x, y and their like [rows, C], the others [C]. y and dresidual are given where a residual
/// was added before relu, and else null. With relu the gradient dy counts only where y > 0, or,
/// without y, where (x - mean) scale + shift > 0; dresidual becomes what is left of it. dresidual,
/// or else dx, may be dy. Where y is given, the gradient is dy + dy2 unless dy2 is null.
template <class T>
struct BatchNormBackward {
  const T *dy, *dy2, *x, *y;
  bool relu;
  const Compute<T>*mean, *variance, *gamma, *beta;
  T *dx, *dresidual;
  double eps;
  std::int64_t rows, C;
};

}  // namespace gradus
