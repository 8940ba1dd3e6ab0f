#include <gradus/optim/muon.h>

#include <algorithm>
#include <cmath>

#include <gradus/tensor/check.h>
#include <gradus/tensor/ops.h>
#include "optim/internal/updates.h"

namespace gradus::optim {

Tensor orthogonalize(const Tensor& x, int iterations) {
  check(iterations > 0, "orthogonalize", "iterations must be positive; got {}", iterations);
  if (x.numel() == 0) return x;
  // a s + b s^3 + c s^5 takes s from (0, 1] towards 1, the small ones as fast as such a polynomial
  // can (Jordan et al., 2024).
  constexpr double a = 3.4445, b = -4.7750, c = 2.0315;
  const std::int64_t rows = x.size(0), columns = x.numel() / rows;
  const bool tall = rows > columns;  // what is said of y and y^T below then holds for y^T and y
  const DType precision = x.dtype() == DType::float32 ? DType::bfloat16 : x.dtype();
  const MatmulOptions gram_options{
      .transpose_a = tall, .transpose_b = !tall, .output_dtype = x.dtype(), .symmetric = true};
  const MatmulOptions square_options{.scale = c, .output_dtype = x.dtype(), .symmetric = true};
  const Tensor identity = eye(std::min(rows, columns), options_of(x));

  // Of elements up to 1, so that no product below is too large or too small for its type.
  Tensor y =
      (x / clamp(max(abs(x)).values, 1e-37, INFINITY)).reshape({rows, columns}).to(precision);
  for (int i = 0; i < iterations; ++i) {
    Tensor gram = matmul(y, y, gram_options);
    Tensor square_bound;  // of the singular values of the first y
    if (i == 0) {
      square_bound = sqrt(sum(square(gram))) + 1e-30;
      gram = gram / square_bound;
    }
    // y becomes (a + b y y^T + c (y y^T)^2) y.
    const Tensor factor = gram.to(precision);
    Tensor polynomial = matmul(factor, factor, square_options);
    add_scaled(polynomial, gram, b);
    add_scaled(polynomial, identity, a);
    if (i == 0) polynomial = polynomial / sqrt(square_bound);
    const Tensor p = polynomial.to(precision);
    const MatmulOptions to{.output_dtype = i + 1 < iterations ? precision : x.dtype()};
    y = tall ? matmul(y, p, to) : matmul(p, y, to);
  }
  return y.reshape(x.shape());
}

Muon::Muon(std::vector<ParameterGroup> groups, const Options& options)
    : Optimizer(std::move(groups), options.lr, {"momentum"}), options_(options) {
  check(std::isfinite(options.momentum) && options.momentum > 0, "muon",
        "momentum must be finite and positive; got {}", options.momentum);
  check(std::isfinite(options.trust) && options.trust > 0, "muon",
        "trust must be finite and positive; got {}", options.trust);
  check(options.iterations > 0, "muon", "iterations must be positive; got {}", options.iterations);
}

void Muon::set_updates(const std::vector<Coming>& coming, Device device) {
  std::vector<SgdUpdate> momenta, updates;
  adapt_.clear();
  for (const auto& [group, lr, step] : coming) {
    momenta.push_back({.lr = 0, .momentum = options_.momentum, .first = step == 1});
    updates.push_back({.lr = lr, .weight_decay = group.weight_decay, .adapt = group.adapt});
    adapt_.push_back(group.adapt);
  }
  momenta_.assign(momenta, device);
  updates_.assign(updates, device);
}

void Muon::update(const std::vector<UpdateTensors>& parameters, const Tensor& guard) {
  // What may fail for want of memory comes first; then m and p change.
  std::vector<UpdateTensors> momenta = parameters, updates = parameters;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const auto& [parameter, gradient, state] = parameters[i];
    if (!gradient.defined()) continue;
    // u of the m to come, momentum m + g
    const double mu = options_.momentum;
    Tensor direction = gradient * (options_.nesterov ? 1 + mu : 1);
    add_scaled(direction, state[0], options_.nesterov ? mu * mu : mu);
    const bool convolution = adapt_[i] && parameter.rank() == 4;
    updates[i].gradient = convolution ? orthogonalize(direction, options_.iterations) : direction;
    momenta[i].parameter = direction;  // has served; SGD at the learning rate 0 sets m alone
  }
  const LarsOptions relative{.form = LarsForm::decayed_gradient, .trust = options_.trust};
  set_trust_ratios(updates, relative, updates_);
  apply_updates<0>(updates, updates_, guard);
  apply_updates<1>(momenta, momenta_, guard);
}

}  // namespace gradus::optim
