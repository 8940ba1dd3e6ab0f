// The VICReg loss's arithmetic that back ends share; nn/vicreg_loss.h has the formulas.
#pragma once

#include <cmath>
#include <cstdint>

#include <gradus/tensor/host_device.h>

namespace gradus {

/// The loss of embeddings [V, N, D], with the weights of its terms.
struct VICRegProblem {
  std::int64_t V, N, D;
  double invariance, variance, covariance;
  double eps;  ///< in the standard deviation
};

/// What the sums over all elements are multiplied with to give the loss's terms, and their
/// gradients with respect to what is squared.
struct VICRegFactors {
  double invariance, variance, covariance;

  static GRADUS_HOST_DEVICE VICRegFactors of_terms(const VICRegProblem& p) {
    const double V = static_cast<double>(p.V), N = static_cast<double>(p.N),
                 D = static_cast<double>(p.D);
    return {2 / ((V - 1) * N * D), 2 / (V * D), 2 / (V * D * (N - 1) * (N - 1))};
  }
  /// Of a view's distance from the mean of all; of a centred number over the dimension's deviation;
  /// of centred numbers times what is off the diagonal of their scatter matrix.
  static GRADUS_HOST_DEVICE VICRegFactors of_gradient(const VICRegProblem& p) {
    const VICRegFactors term = of_terms(p);
    return {2 * term.invariance, -term.variance / static_cast<double>(p.N - 1),
            4 * term.covariance};
  }
};

/// The mean over views of z_v - z_0, where z_v = z[v view]: 0 where the views are alike.
template <class T>
GRADUS_HOST_DEVICE T mean_from_first_view(const T* z, std::int64_t view, std::int64_t V) {
  T sum = 0;
  for (std::int64_t v = 1; v < V; ++v) sum += z[v * view] - z[0];
  return sum / static_cast<T>(V);
}

/// The sum over views of (z_v - their mean)^2, likewise: sum d_v^2 - (sum d_v)^2 / V, where d_v =
/// z_v - z_0. Of two views that is exact.
template <class T>
GRADUS_HOST_DEVICE T spread_of_views(const T* z, std::int64_t view, std::int64_t V) {
  T sum = 0, squares = 0;
  for (std::int64_t v = 1; v < V; ++v) {
    const T distance = z[v * view] - z[0];
    sum += distance;
    squares += distance * distance;
  }
  return squares - sum * sum / static_cast<T>(V);
}

/// values [4], the loss and its terms, from the sums over all of spread_of_views, of the hinges
/// max(0, 1 - std), and of squares off the diagonals.
template <class T>
GRADUS_HOST_DEVICE void write_vicreg_values(double spread, double hinges, double squares, T* values,
                                            const VICRegProblem& p) {
  const VICRegFactors factor = VICRegFactors::of_terms(p);
  const double invariance = factor.invariance * spread, variance = factor.variance * hinges,
               covariance = factor.covariance * squares;
  values[0] =
      static_cast<T>(p.invariance * invariance + p.variance * variance + p.covariance * covariance);
  values[1] = static_cast<T>(invariance);
  values[2] = static_cast<T>(variance);
  values[3] = static_cast<T>(covariance);
}

/// The hinge max(0, 1 - std) of a dimension, where NaN stays NaN, and 1 / std where that is not 0.
template <class T>
struct StdHinge {
  T value, inverse;

  GRADUS_HOST_DEVICE StdHinge(T variance, double eps) {
    const T std = std::sqrt(variance + static_cast<T>(eps));
    value = std >= 1 ? T{0} : 1 - std;
    inverse = std >= 1 ? T{0} : 1 / std;
  }
};

/// What the three parts of the gradient of z are multiplied with, from dvalues [4], the gradient of
/// the loss and its terms.
template <class T>
struct VICRegGradient {
  T invariance, variance, covariance;

  GRADUS_HOST_DEVICE VICRegGradient(const T* dvalues, const VICRegProblem& p) {
    const VICRegFactors factor = VICRegFactors::of_gradient(p);
    const T dtotal = dvalues[0];
    invariance =
        static_cast<T>(factor.invariance) * (dtotal * static_cast<T>(p.invariance) + dvalues[1]);
    variance = static_cast<T>(factor.variance) * (dtotal * static_cast<T>(p.variance) + dvalues[2]);
    covariance =
        static_cast<T>(factor.covariance) * (dtotal * static_cast<T>(p.covariance) + dvalues[3]);
  }

  /// dz of the V views of one number: z_v = z[v view], likewise centred and dz, which holds centred
  /// times scatter; inverse_std[v D].
  GRADUS_HOST_DEVICE void write(const T* z, const T* centred, const T* inverse_std, T* dz,
                                std::int64_t view, const VICRegProblem& p) const {
    const T mean = mean_from_first_view(z, view, p.V);
    for (std::int64_t v = 0; v < p.V; ++v) {
      const std::int64_t at = v * view;
      dz[at] = invariance * (z[at] - z[0] - mean) + variance * inverse_std[v * p.D] * centred[at] +
               covariance * dz[at];
    }
  }
};

}  // namespace gradus
