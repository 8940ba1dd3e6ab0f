// A level with tiles, whose instructions plain C++ stands in for (tensor/cpu/simd/tile.h): what
// tests of kernels run at on any machine besides the levels that it has (simd_levels.h).
#define GRADUS_SIMD_LEVEL plain_tiles
#define GRADUS_SIMD_WIDTH 16
#define GRADUS_SIMD_PLAIN_TILES
#include "tensor/cpu/simd/inner_kernels.cpp"
