#include <gradus/tensor/ops_fused.h>
#include "tensor/ops/support.h"

namespace gradus {
namespace {

VICRegProblem problem_of(const Tensor& z, const VICRegOptions& options) {
  constexpr std::string_view op = "vicreg_terms";
  check_defined(op, "z", z);
  check(z.rank() == 3 && z.size(0) >= 2 && z.size(1) >= 2 && z.size(2) >= 1, op,
        "z must be [V, N, D] of at least 2 views, 2 images and 1 dimension; got {}", z.shape());
  check_eps(op, options.eps);
  return {.V = z.size(0),
          .N = z.size(1),
          .D = z.size(2),
          .invariance = options.invariance,
          .variance = options.variance,
          .covariance = options.covariance,
          .eps = options.eps};
}

}  // namespace

VICRegTerms vicreg_terms(const Tensor& z, const VICRegOptions& options) {
  const VICRegProblem p = problem_of(z, options);
  const TensorOptions like_z = options_of(z);
  VICRegTerms terms{.values = empty({4}, like_z),
                    .centred = empty(z.shape(), like_z),
                    .inverse_std = empty({p.V, p.D}, like_z),
                    .scatter = {}};
  Tensor spread = empty({p.D}, like_z);
  dispatch_full_precision("vicreg_terms", z.dtype(), [&]<class T>() {
    T* const variance = terms.inverse_std.data<T>();  // at first
    GRADUS_KERNEL(z.device(), vicreg_columns(z.data<T>(), terms.centred.data<T>(), variance,
                                             spread.data<T>(), p));
    terms.scatter = matmul(terms.centred, terms.centred, {.transpose_a = true});
    const Tensor off_diagonal = off_diagonal_square_sum(terms.scatter);
    GRADUS_KERNEL(z.device(),
                  vicreg_values(std::as_const(spread).data<T>(), off_diagonal.data<T>(), variance,
                                terms.scatter.data<T>(), terms.values.data<T>(), p));
  });
  return terms;
}

Tensor vicreg_terms_backward(const Tensor& dvalues, const Tensor& z, const VICRegTerms& terms,
                             const VICRegOptions& options) {
  constexpr std::string_view op = "vicreg_terms_backward";
  const VICRegProblem p = problem_of(z, options);
  const auto check_argument = [&](const char* name, const Tensor& x, const Shape& shape) {
    check_same_kind(op, name, x, "z", z);
    check_shape(op, name, x, shape);
  };
  check_argument("dvalues", dvalues, {4});
  check_argument("centred", terms.centred, z.shape());
  check_argument("inverse_std", terms.inverse_std, {p.V, p.D});
  check_argument("scatter", terms.scatter, {p.V, p.D, p.D});
  Tensor dz = matmul(terms.centred, terms.scatter);
  dispatch_full_precision(op, z.dtype(), [&]<class T>() {
    GRADUS_KERNEL(z.device(),
                  vicreg_backward(dvalues.data<T>(), z.data<T>(), terms.centred.data<T>(),
                                  terms.inverse_std.data<T>(), dz.data<T>(), p));
  });
  return dz;
}

}  // namespace gradus
