// One level's kernels. This is compiled once for each level, with that level's instructions, and
// GRADUS_SIMD_LEVEL and GRADUS_SIMD_WIDTH defined (tensor/cpu/simd/levels.cmake). Whatever it
// defines lies in the level's namespace: an inline function that other files share would be kept
// once for the whole program, perhaps with instructions that the processor lacks.
#include "tensor/cpu/simd/norm.h"
#include "tensor/cpu/simd/product.h"
#include "tensor/cpu/simd/transforms.h"

namespace gradus::cpu::simd::GRADUS_SIMD_LEVEL {

template <class T, class Word>
constexpr void set_schemes(WinogradKernels<T, Word> (&kernels)[3]) {
  kernels[static_cast<int>(WinogradScheme::plain)] = winograd_kernels<Filtering, T, Word>();
  kernels[static_cast<int>(WinogradScheme::strided)] =
      winograd_kernels<StridedFiltering, T, Word>();
  kernels[static_cast<int>(WinogradScheme::strided_back)] =
      winograd_kernels<StridedGradient, T, Word>();
}

constexpr Kernels make_kernels() {
  Kernels k{};
  k.width = width;
  k.panel = panel;
  k.rows = FloatProduct::most_rows;
  k.multiply_float = &multiply_panel<float>;
  k.store_rows_float = &store_rows<float>;
  k.store_rows_bfloat16 = &store_rows<BFloat16>;
  k.transpose = &transpose;
  set_schemes(k.winograd_float);
  if constexpr (by_pairs) {
    k.multiply_pairs = &multiply_panel<BFloat16Pair>;
    set_schemes(k.winograd_pairs);
  } else {
    set_schemes(k.winograd_bfloat16);
  }
  k.norm_float = norm_kernels<float>();
  k.norm_bfloat16 = norm_kernels<BFloat16>();
  return k;
}

extern constexpr Kernels kernels = make_kernels();

}  // namespace gradus::cpu::simd::GRADUS_SIMD_LEVEL
