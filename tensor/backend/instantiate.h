// Explicit instantiations of kernels (kernels.inc), with which the files of the back ends end.
//
//   GRADUS_INSTANTIATE_FLOATS(softmax)       softmax<T> for each floating-point type T
//   GRADUS_INSTANTIATE_FLOATS(unary, ReLU)   unary<T, ReLU> likewise
//
// A kernel that the other files need and none instantiates is an error of the linker.
#pragma once

#include <cstdint>

#include "tensor/backend/kernels.h"

/// Of one function, by its name with all template arguments: decltype says the rest.
#define GRADUS_INSTANTIATE(...) template decltype(__VA_ARGS__) __VA_ARGS__;

#define GRADUS_INSTANTIATE_FLOAT_AND_DOUBLE(kernel, ...)       \
  GRADUS_INSTANTIATE(kernel<float __VA_OPT__(, ) __VA_ARGS__>) \
  GRADUS_INSTANTIATE(kernel<double __VA_OPT__(, ) __VA_ARGS__>)

#define GRADUS_INSTANTIATE_FLOATS(kernel, ...)                           \
  GRADUS_INSTANTIATE_FLOAT_AND_DOUBLE(kernel __VA_OPT__(, ) __VA_ARGS__) \
  GRADUS_INSTANTIATE(kernel<BFloat16 __VA_OPT__(, ) __VA_ARGS__>)

#define GRADUS_INSTANTIATE_ALL_TYPES(kernel, ...)                     \
  GRADUS_INSTANTIATE_FLOATS(kernel __VA_OPT__(, ) __VA_ARGS__)        \
  GRADUS_INSTANTIATE(kernel<std::uint8_t __VA_OPT__(, ) __VA_ARGS__>) \
  GRADUS_INSTANTIATE(kernel<std::int64_t __VA_OPT__(, ) __VA_ARGS__>)

// Of the functions of tensor/elementwise.h: GRADUS_UNARY_FUNCTIONS(GRADUS_INSTANTIATE_UNARY).
#define GRADUS_INSTANTIATE_UNARY(Function)   \
  GRADUS_INSTANTIATE_FLOATS(unary, Function) \
  GRADUS_INSTANTIATE_FLOATS(unary_backward, Function)
#define GRADUS_INSTANTIATE_ARITHMETIC(Function) GRADUS_INSTANTIATE_FLOATS(binary, Function)
#define GRADUS_INSTANTIATE_COMPARISON(Function) GRADUS_INSTANTIATE_ALL_TYPES(binary, Function)
