// One level's kernels. This is compiled once for each level, with that level's instructions, and
// GRADUS_SIMD_LEVEL and GRADUS_SIMD_WIDTH defined (tensor/cpu/simd/levels.cmake). Whatever it
// defines lies in the level's namespace: an inline function that other files share would be kept
// once for the whole program, perhaps with instructions that the processor lacks.
#include "tensor/cpu/simd/norm.h"
#include "tensor/cpu/simd/product.h"
#include "tensor/cpu/simd/transforms.h"

namespace gradus::cpu::simd::GRADUS_SIMD_LEVEL {

extern constexpr Kernels kernels = {
    width,
    panel,
    FloatProduct::most_rows,
    &multiply_panel<float>,
    &multiply_panel<BFloat16>,
    &store_rows<float>,
    &store_rows<BFloat16>,
    &transpose,
    {winograd_kernels<Filtering, float>(), winograd_kernels<StridedFiltering, float>(),
     winograd_kernels<StridedGradient, float>()},
    {winograd_kernels<Filtering, BFloat16>(), winograd_kernels<StridedFiltering, BFloat16>(),
     winograd_kernels<StridedGradient, BFloat16>()},
    norm_kernels<float>(),
    norm_kernels<BFloat16>(),
};

}  // namespace gradus::cpu::simd::GRADUS_SIMD_LEVEL
