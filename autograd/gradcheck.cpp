#include "autograd/gradcheck.h"

#include <cmath>

#include "autograd/ops.h"

namespace gradus {
namespace {

using Function = std::function<Variable(const std::vector<Variable>&)>;

/// sum(weights * function(inputs)) without a graph.
double weighted_output(const Function& function, const std::vector<Variable>& inputs,
                       const Tensor& weights) {
  const NoGrad no_grad;
  return sum(mul(function(inputs).value(), weights)).item<double>();
}

}  // namespace

GradcheckResult gradcheck(const Function& function, const std::vector<Tensor>& inputs,
                          const GradcheckOptions& options) {
  std::vector<Variable> variables;
  for (const Tensor& input : inputs) {
    check(input.dtype() == DType::float64, "gradcheck", "inputs must be float64; got {}",
          name(input.dtype()));
    variables.emplace_back(input.clone(), true);
  }
  const Variable output = function(variables);
  Generator generator(options.seed);
  const Tensor weights = uniform(output.shape(), 0.5, 1.5, generator, options_of(output.value()));
  if (output.requires_grad()) output.backward(weights);

  GradcheckResult result;
  for (std::size_t i = 0; i < variables.size(); ++i) {
    const Tensor gradient = variables[i].grad();
    double* x = variables[i].value().data<double>();
    for (std::int64_t j = 0; j < variables[i].numel(); ++j) {
      const double original = x[j];
      x[j] = original + options.step;
      const double above = weighted_output(function, variables, weights);
      x[j] = original - options.step;
      const double below = weighted_output(function, variables, weights);
      x[j] = original;
      const double numeric = (above - below) / (2 * options.step);
      const double analytic = gradient.defined() ? gradient.data<double>()[j] : 0.0;
      // The difference of two rounded outputs cannot be known better than this.
      const double rounding = 4e-16 * (std::abs(above) + std::abs(below)) / options.step;
      const double tolerance =
          options.absolute_tolerance + rounding +
          options.relative_tolerance * std::max(std::abs(analytic), std::abs(numeric));
      const double error = std::abs(analytic - numeric);
      result.largest_error = std::max(result.largest_error, error);
      if (!(error <= tolerance) && result.passed) {
        result.passed = false;
        result.message = fmt::format("input {} element {}: analytic {:.12g}, numeric {:.12g}", i, j,
                                     analytic, numeric);
      }
    }
  }
  return result;
}

}  // namespace gradus
