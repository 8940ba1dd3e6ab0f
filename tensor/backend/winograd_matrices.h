// The matrices of Winograd's minimal filtering F(m x m, 3x3) with m = 4 (Lavin and Gray, "Fast
// Algorithms for Convolutional Neural Networks", 2016), computed from their interpolation points by
// the compiler.
//
// In one dimension: m outputs of a filter with three taps, y_k = sum_j g_j d_(k+j) with k < m and
// j < 3, from n = m + 2 inputs d_0..d_(n-1). Take n - 1 points p_i, N_i = prod_(j != i) (p_i -
// p_j), M_i(x) = prod_(j != i) (x - p_j) and M(x) = prod_j (x - p_j). Lagrange's interpolation of
// x^e at the points is exact up to degree n - 2 and differs from x^(n-1) by M(x):
//     x^e = sum_i p_i^e / N_i M_i(x) + [e = n - 1] M(x),   e < n.
// Read with d_e in the place of x^e (both sides are linear in the powers of x), and with e = k + j,
//     y_k = sum_i p_i^k  (sum_j p_i^j / N_i g_j)  M_i(d) + [k = m - 1] g_2 M(d),
// which is y = A^T [(G g) . (B^T d)], "." elementwise: n multiplications instead of 3 m. M(x)
// belongs to the point at infinity. In two dimensions the matrices act on both sides,
//     Y = A^T [(G g G^T) . (B^T d B)] A,
// and a tile takes n^2 = 36 multiplications instead of 9 m^2 = 144.
// The gradients are the transposed maps:
//     dg = G^T [(B^T d B) . (A dY A^T)] G;  dd is a convolution of dY with the rotated g.
#pragma once

#include <array>

namespace gradus::winograd {

/// Finite points of interpolation, and what belongs to each.
template <int count>
struct Interpolation {
  std::array<double, count> points;

  /// Coefficients of M_i, lowest first; of M for i = count.
  constexpr std::array<double, count + 1> polynomial(int i) const {
    std::array<double, count + 1> c{1};
    for (int j = 0; j < count; ++j) {
      if (j == i) continue;
      for (int e = count; e > 0; --e) c[e] = c[e - 1] - points[j] * c[e];
      c[0] *= -points[j];
    }
    return c;
  }

  /// p_i^exponent
  constexpr double power(int i, int exponent) const {
    double y = 1;
    for (int e = 0; e < exponent; ++e) y *= points[i];
    return y;
  }

  /// N_i
  constexpr double scale(int i) const {
    double product = 1;
    for (int j = 0; j < count; ++j) {
      if (j != i) product *= points[i] - points[j];
    }
    return product;
  }
};

/// F(4x4, 3x3): sizes and matrices.
struct Filtering {
  static constexpr int output_side = 4;                      ///< of a tile of outputs
  static constexpr int taps = 3;                             ///< of the filter
  static constexpr int tile_side = output_side + taps - 1;   ///< of a tile of inputs
  static constexpr int frequencies = tile_side * tile_side;  ///< products of a tile
  static constexpr int finite_points = tile_side - 1;
  /// Exact in binary, with half the rounding error of the usual 0, +-1, +-2.
  static constexpr Interpolation<finite_points> points = {
      {0, 5.0 / 8, -5.0 / 8, 3.0 / 2, -3.0 / 2}};

  /// B^T: row i evaluates M_i, the last one M.
  struct InputMatrix {
    static constexpr int rows = tile_side, columns = tile_side;
    static constexpr double at(int i, int j) { return points.polynomial(i)[j]; }
  };

  /// G: p_i^j / N_i, and (0, 0, 1) for the point at infinity.
  struct WeightMatrix {
    static constexpr int rows = tile_side, columns = taps;
    static constexpr double at(int i, int j) {
      if (i == finite_points) return j == taps - 1 ? 1 : 0;
      return points.power(i, j) / points.scale(i);
    }
  };

  /// A^T: p_i^k, and 1 in the last row for the point at infinity.
  struct OutputMatrix {
    static constexpr int rows = output_side, columns = tile_side;
    static constexpr double at(int k, int i) {
      if (i == finite_points) return k == output_side - 1 ? 1 : 0;
      return points.power(i, k);
    }
  };
};

/// 4x4 outputs of a 3x3 filter with stride 2, in one dimension
///     y_k = g_0 d_(2k) + g_1 d_(2k+1) + g_2 d_(2k+2),   k < 4,
/// from nine inputs: the even ones meet a filter of two taps, (g_0, g_2), by minimal filtering with
/// five products; the odd ones are multiplied by g_1. In two dimensions 81 multiplications instead
/// of 144.
struct StridedFiltering {
  static constexpr int output_side = 4, taps = 3, tile_side = 9, frequencies = 81;
  static constexpr int even = 5;  ///< products of the even inputs; those of the odd ones follow
  static constexpr int finite_points = even - 1;
  static constexpr Interpolation<finite_points> points = {{0.5, -0.5, 1.5, -1.5}};

  struct InputMatrix {
    static constexpr int rows = tile_side, columns = tile_side;
    static constexpr double at(int i, int j) {
      if (i < even) return j % 2 == 0 ? points.polynomial(i)[j / 2] : 0;
      return j == 2 * (i - even) + 1 ? 1 : 0;
    }
  };

  struct WeightMatrix {
    static constexpr int rows = tile_side, columns = taps;
    static constexpr double at(int i, int j) {
      if (i >= even) return j == 1 ? 1 : 0;
      if (j == 1) return 0;
      if (i == finite_points) return j == 2 ? 1 : 0;
      return points.power(i, j / 2) / points.scale(i);
    }
  };

  struct OutputMatrix {
    static constexpr int rows = output_side, columns = tile_side;
    static constexpr double at(int k, int i) {
      if (i >= even) return i - even == k ? 1 : 0;
      if (i == finite_points) return k == output_side - 1 ? 1 : 0;
      return points.power(i, k);
    }
  };
};

/// The gradient of its input, for padding 1: with v the gradients of five outputs, eight inputs get
///     d_(2k) = g_1 v_k,   d_(2k+1) = g_2 v_k + g_0 v_(k+1),   k < 4.
/// The filter is taken reversed, (g_2, g_1, g_0).
struct StridedGradient {
  static constexpr int output_side = 8, taps = 3, tile_side = 5, frequencies = 81;
  static constexpr int even = StridedFiltering::even;
  static constexpr int finite_points = StridedFiltering::finite_points;

  struct InputMatrix {
    static constexpr int rows = 9, columns = tile_side;
    static constexpr double at(int i, int j) {
      if (i < even) return StridedFiltering::points.polynomial(i)[j];
      return i - even == j ? 1 : 0;
    }
  };

  using WeightMatrix = StridedFiltering::WeightMatrix;

  struct OutputMatrix {
    static constexpr int rows = output_side, columns = 9;
    static constexpr double at(int k, int i) {
      if (k % 2 == 0) return i - even == k / 2 ? 1 : 0;
      return i < even ? StridedFiltering::OutputMatrix::at(k / 2, i) : 0;
    }
  };
};

template <class Matrix>
struct Transposed {
  static constexpr int rows = Matrix::columns, columns = Matrix::rows;
  static constexpr double at(int i, int j) { return Matrix::at(j, i); }
};

/// Elements that are not zero: the multiplications by the matrix.
template <class Matrix>
constexpr int nonzeros() {
  int count = 0;
  for (int i = 0; i < Matrix::rows; ++i) {
    for (int j = 0; j < Matrix::columns; ++j) count += Matrix::at(i, j) != 0;
  }
  return count;
}

}  // namespace gradus::winograd
