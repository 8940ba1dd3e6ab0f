// A level with products of pairs of bfloat16, whose instruction plain C++ stands in for
// (tensor/cpu/simd/product.h), like plain_tiles.cpp.
#define GRADUS_SIMD_LEVEL plain_pairs
#define GRADUS_SIMD_WIDTH 16
#define GRADUS_SIMD_PLAIN_PAIRS
#include "tensor/cpu/simd/inner_kernels.cpp"
