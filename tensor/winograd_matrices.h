// The matrices of Winograd's minimal filtering F(m x m, 3x3) (Lavin and Gray, "Fast Algorithms for
// Convolutional Neural Networks", 2016), computed from their interpolation points by the compiler.
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
// and a tile takes n^2 multiplications instead of 9 m^2: 36 for 144 (m = 4), 16 for 36 (m = 2).
// The gradients are the transposed maps:
//     dg = G^T [(B^T d B) . (A dY A^T)] G;  dd is a convolution of dY with the rotated g.
#pragma once

#include <array>

namespace gradus::winograd {

/// The points for m outputs, all exact in binary.
template <int m>
inline constexpr std::array<double, m + 1> interpolation_points{};
template <>
inline constexpr std::array<double, 3> interpolation_points<2> = {0, 1, -1};
/// Half the rounding error of the usual 0, +-1, +-2.
template <>
inline constexpr std::array<double, 5> interpolation_points<4> = {0, 5.0 / 8, -5.0 / 8, 3.0 / 2,
                                                                  -3.0 / 2};

/// F(m x m, 3x3): sizes and matrices.
template <int m>
struct Filtering {
  static constexpr int output_side = m;                      ///< of a tile of outputs
  static constexpr int taps = 3;                             ///< of the filter
  static constexpr int tile_side = output_side + taps - 1;   ///< of a tile of inputs
  static constexpr int frequencies = tile_side * tile_side;  ///< products of a tile
  static constexpr int finite_points = tile_side - 1;
  static constexpr std::array<double, finite_points> points = interpolation_points<m>;

  /// B^T: row i evaluates M_i, the last one M.
  struct InputMatrix {
    static constexpr int rows = tile_side, columns = tile_side;
    static constexpr double at(int i, int j) { return polynomial(i)[j]; }
  };

  /// G: p_i^j / N_i, and (0, 0, 1) for the point at infinity.
  struct WeightMatrix {
    static constexpr int rows = tile_side, columns = taps;
    static constexpr double at(int i, int j) {
      if (i == finite_points) return j == taps - 1 ? 1 : 0;
      return power(points[i], j) / scale(i);
    }
  };

  /// A^T: p_i^k, and 1 in the last row for the point at infinity.
  struct OutputMatrix {
    static constexpr int rows = output_side, columns = tile_side;
    static constexpr double at(int k, int i) {
      if (i == finite_points) return k == output_side - 1 ? 1 : 0;
      return power(points[i], k);
    }
  };

 private:
  /// Coefficients of prod_(j != left_out) (x - p_j), lowest first.
  static constexpr std::array<double, tile_side> polynomial(int left_out) {
    std::array<double, tile_side> c{1};
    for (int j = 0; j < finite_points; ++j) {
      if (j == left_out) continue;
      for (int e = finite_points; e > 0; --e) c[e] = c[e - 1] - points[j] * c[e];
      c[0] *= -points[j];
    }
    return c;
  }

  static constexpr double power(double x, int exponent) {
    double y = 1;
    for (int i = 0; i < exponent; ++i) y *= x;
    return y;
  }

  /// N_i
  static constexpr double scale(int i) {
    double product = 1;
    for (int j = 0; j < finite_points; ++j) {
      if (j != i) product *= points[i] - points[j];
    }
    return product;
  }
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
