#include "tensor/cpu/conv/choice.h"

#include "tensor/cpu/conv/direct_conv.h"
#include "tensor/cpu/conv/winograd_tiles.h"

namespace gradus::cpu {
namespace {

/// What one core does in a second: 1e9 operations in the products of direct convolutions, of
/// Winograd's first two passes and of its gradients of weights.
struct Rates {
  double direct, winograd, winograd_weight;
};

/// Measured over the layers of a ResNet-18, 128 images of 32x32, on an Intel Xeon with AVX-512 and
/// AMX; at avx512_bf16, the level of AMD's processors, on an EPYC (Zen 4).
template <class T>
Rates rates(simd::Level level) {
  constexpr bool is_bfloat16 = std::is_same_v<T, BFloat16>;
  if (is_bfloat16 && level == simd::Level::amx) return {1500, 450, 120};
  if (is_bfloat16 && level == simd::Level::avx512_bf16) return {185, 205, 175};
  switch (level) {  // products of float
    case simd::Level::avx512_bf16: return {95, 102, 92};
    case simd::Level::generic: return {54, 48, 27};
    case simd::Level::avx2: return {95, 85, 50};
    default: return {145, 130, 70};
  }
}

/// Elements of tiles or weights that a core transforms in a second, there or back: 1e9.
constexpr double transform_rate = 3.5;

}  // namespace

template <class T>
bool winograd_is_faster(const Conv2dGeometry& g, ConvPass pass, simd::Level level) {
  if (!g.winograd || !winograd::supports(g)) return false;
  const Rates rate = rates<T>(level);
  const int side = simd::kernels().winograd<float, float>(winograd::scheme_of(g)).frequency_side;
  const auto tiles = static_cast<double>(winograd::Grids(g).input.count());
  const auto C = static_cast<double>(g.C), O = static_cast<double>(g.O);
  const auto whole_vectors = [](std::int64_t channels) {
    return static_cast<double>(round_up(channels, 16));
  };
  const auto operations = [&](double terms) { return 2 * terms * C * O; };
  const double transformed =
      side * side * (tiles * (whole_vectors(g.C) + whole_vectors(g.O)) + C * O);
  const double winograd =
      transformed / transform_rate +
      operations(side * side * tiles) /
          (pass == ConvPass::weight_gradient ? rate.winograd_weight : rate.winograd);
  return winograd < operations(static_cast<double>(direct::terms(g))) / rate.direct;
}

template bool winograd_is_faster<float>(const Conv2dGeometry&, ConvPass, simd::Level);
template bool winograd_is_faster<BFloat16>(const Conv2dGeometry&, ConvPass, simd::Level);

}  // namespace gradus::cpu
