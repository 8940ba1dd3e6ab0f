// The kernels of the contract (kernels.inc), family by family, as explicit instantiations. Both
// back ends end their files with them: GRADUS_FLOATS(GRADUS_INSTANTIATE_POOL) is pooling for each
// floating-point type.
#pragma once

#include "tensor/backend/kernels.h"

#define GRADUS_FLOATS(KERNELS) KERNELS(float) KERNELS(double) KERNELS(BFloat16)
#define GRADUS_ALL_TYPES(KERNELS) GRADUS_FLOATS(KERNELS) KERNELS(std::uint8_t) KERNELS(std::int64_t)

#define GRADUS_INSTANTIATE_COPY(T)                                                               \
  template void fill(T*, T, std::int64_t);                                                       \
  template void cast(const T*, float*, std::int64_t);                                            \
  template void cast(const T*, double*, std::int64_t);                                           \
  template void cast(const T*, BFloat16*, std::int64_t);                                         \
  template void cast(const T*, std::uint8_t*, std::int64_t);                                     \
  template void cast(const T*, std::int64_t*, std::int64_t);                                     \
  template void copy_rows(const T*, std::int64_t, T*, std::int64_t, std::int64_t, std::int64_t); \
  template void strided_copy(const T*, T*, const StridedGeometry&);                              \
  template void gather_rows(const T*, const std::int64_t*, T*, std::int64_t, std::int64_t);      \
  template void one_hot(const std::int64_t*, T*, std::int64_t, std::int64_t);
#define GRADUS_INSTANTIATE_ALL_FINITE(T) template void all_finite(const T*, std::int64_t, bool*);
#define GRADUS_INSTANTIATE_SCATTER(T) \
  template void scatter_add_rows(const T*, const std::int64_t*, T*, std::int64_t, std::int64_t);

// Of each function of tensor/elementwise.h: GRADUS_UNARY_FUNCTIONS(GRADUS_INSTANTIATE_UNARY).
#define GRADUS_INSTANTIATE_UNARY_FOR(Function, T)            \
  template void unary(Function, const T*, T*, std::int64_t); \
  template void unary_backward(Function, const T*, const T*, T*, std::int64_t);
#define GRADUS_INSTANTIATE_UNARY(Function)       \
  GRADUS_INSTANTIATE_UNARY_FOR(Function, float)  \
  GRADUS_INSTANTIATE_UNARY_FOR(Function, double) \
  GRADUS_INSTANTIATE_UNARY_FOR(Function, BFloat16)

#define GRADUS_INSTANTIATE_BINARY(Function, T)                                   \
  template void binary(Function, const T*, const T*, BinaryResult<Function, T>*, \
                       const StridedGeometry&);
#define GRADUS_INSTANTIATE_ARITHMETIC(Function) \
  GRADUS_INSTANTIATE_BINARY(Function, float)    \
  GRADUS_INSTANTIATE_BINARY(Function, double)   \
  GRADUS_INSTANTIATE_BINARY(Function, BFloat16)
#define GRADUS_INSTANTIATE_COMPARISON(Function)     \
  GRADUS_INSTANTIATE_ARITHMETIC(Function)           \
  GRADUS_INSTANTIATE_BINARY(Function, std::uint8_t) \
  GRADUS_INSTANTIATE_BINARY(Function, std::int64_t)

#define GRADUS_INSTANTIATE_WHERE(T)                                               \
  template void where(const std::uint8_t*, const T*, const T*, T*, std::int64_t); \
  template void add_scaled(Compute<T>, const T*, T*, std::int64_t);

#define GRADUS_INSTANTIATE_SUM(T)                                                \
  template void sum(const T*, Compute<T>*, const ReduceGeometry&);               \
  template void sum_squared_deviations(const T*, const Compute<T>*, Compute<T>*, \
                                       const ReduceGeometry&);
#define GRADUS_INSTANTIATE_MAX(T)                                        \
  template void max(const T*, T*, std::int64_t*, const ReduceGeometry&); \
  template void max_backward(const T*, const std::int64_t*, T*, const ReduceGeometry&);

// Also of the ways to compute them that have the contract's signatures.
#define GRADUS_INSTANTIATE_CONV(T)                                                                 \
  template void conv2d(const T*, const Compute<T>*, const Compute<T>*, T*, const Conv2dGeometry&); \
  template void conv2d_backward_input(const T*, const Compute<T>*, T*, const Conv2dGeometry&);     \
  template void conv2d_backward_weight(const T*, const T*, Compute<T>*, const Conv2dGeometry&);
#define GRADUS_INSTANTIATE_CONV_WITH_STATISTICS(T)                                                \
  template void conv2d_with_statistics(const T*, const Compute<T>*, T*, Compute<T>*, Compute<T>*, \
                                       const Conv2dGeometry&);

#define GRADUS_INSTANTIATE_POOL(T)                                                             \
  template void max_pool2d(const T*, T*, std::int64_t*, const Pool2dGeometry&);                \
  template void max_pool2d_backward(const T*, const std::int64_t*, T*, const Pool2dGeometry&); \
  template void avg_pool2d(const T*, T*, const Pool2dGeometry&);                               \
  template void avg_pool2d_backward(const T*, T*, const Pool2dGeometry&);

#define GRADUS_INSTANTIATE_NORM(T)                                                            \
  template void batch_norm_statistics(const T*, Compute<T>*, Compute<T>*, std::int64_t,       \
                                      std::int64_t);                                          \
  template void batch_norm(const T*, const Compute<T>*, const Compute<T>*, const Compute<T>*, \
                           const Compute<T>*, const T*, bool, T*, double, std::int64_t,       \
                           std::int64_t);
#define GRADUS_INSTANTIATE_NORM_BACKWARD(T)                                                      \
  template void batch_norm_backward_sums(const BatchNormBackward<T>&, Compute<T>*, Compute<T>*); \
  template void batch_norm_backward_input(const BatchNormBackward<T>&, const Compute<T>*,        \
                                          const Compute<T>*, std::int64_t);
#define GRADUS_INSTANTIATE_NORM_MERGE_AND_TRACK(T)                                          \
  template void batch_norm_merge_statistics(const T*, T*, T*, std::int64_t, std::int64_t);  \
  template void batch_norm_track(T*, T*, std::int64_t*, const T*, const T*, double, double, \
                                 std::int64_t);

#define GRADUS_INSTANTIATE_OFF_DIAGONAL(T)                                                      \
  template void off_diagonal_square_sum(const T*, Compute<T>*, std::int64_t, std::int64_t);     \
  template void off_diagonal_square_sum_backward(const Compute<T>*, const T*, T*, std::int64_t, \
                                                 std::int64_t);

#define GRADUS_INSTANTIATE_VICREG(T)                                                 \
  template void vicreg_columns(const T*, T*, T*, T*, const VICRegProblem&);          \
  template void vicreg_values(const T*, const T*, T*, T*, T*, const VICRegProblem&); \
  template void vicreg_backward(const T*, const T*, const T*, const T*, T*, const VICRegProblem&);

#define GRADUS_INSTANTIATE_SOFTMAX(T)                                                 \
  template void softmax(const T*, T*, std::int64_t, std::int64_t);                    \
  template void softmax_backward(const T*, const T*, T*, std::int64_t, std::int64_t); \
  template void log_softmax(const T*, T*, std::int64_t, std::int64_t);                \
  template void log_softmax_backward(const T*, const T*, T*, std::int64_t, std::int64_t);

#define GRADUS_INSTANTIATE_CROSS_ENTROPY(T)                                                      \
  template void softmax_cross_entropy(const T*, const std::int64_t*, Compute<T>*, double,        \
                                      std::int64_t, std::int64_t);                               \
  template void softmax_cross_entropy_backward(const Compute<T>*, const T*, const std::int64_t*, \
                                               T*, double, std::int64_t, std::int64_t);

// Of each distribution (distributions.h): GRADUS_DISTRIBUTIONS(GRADUS_INSTANTIATE_DRAW).
#define GRADUS_INSTANTIATE_DRAW(Distribution)                                   \
  template void draw(Distribution, const PhiloxStream&, float*, std::int64_t);  \
  template void draw(Distribution, const PhiloxStream&, double*, std::int64_t); \
  template void draw(Distribution, const PhiloxStream&, BFloat16*, std::int64_t);
