#include <gradus/autograd/gradcheck.h>

#include <algorithm>
#include <cmath>

#include <gradus/autograd/ops.h>

namespace gradus {
namespace {

using Function = std::function<Variable(const std::vector<Variable>&)>;

/// sum(weights * function(inputs)) without a graph, summed on the host.
double weighted_output(const Function& function, const std::vector<Variable>& inputs,
                       const std::vector<double>& weights) {
  const NoGrad no_grad;
  const auto values = function(inputs).value().to_vector<double>();
  long double sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i) sum += weights[i] * values[i];
  return static_cast<double>(sum);
}

/// One input, whose elements are changed on the host and copied to its device.
class Perturbed {
 public:
  explicit Perturbed(Variable& variable)
      : value_(variable.value()), host_(value_.to(Device::cpu).clone()) {
    if (variable.grad().defined()) gradient_ = variable.grad().to_vector<double>();
  }

  void shift(std::int64_t element, double by) {
    const double original = host_.data<double>()[element];
    host_.data<double>()[element] = original + by;
    value_.copy_from(host_);
    host_.data<double>()[element] = original;
  }
  void restore() { value_.copy_from(host_); }
  double gradient(std::int64_t element) const {
    return gradient_.empty() ? 0.0 : gradient_[static_cast<std::size_t>(element)];
  }

 private:
  Tensor value_, host_;
  std::vector<double> gradient_;
};

}  // namespace

GradcheckResult gradcheck(const Function& function, const std::vector<Tensor>& inputs,
                          const GradcheckOptions& options) {
  check(options.most_elements >= 1, "gradcheck", "most_elements must be at least 1; got {}",
        options.most_elements);
  std::vector<Variable> variables;
  for (const Tensor& input : inputs) {
    check(input.defined() && input.dtype() == DType::float64, "gradcheck",
          "inputs must be float64; got {}", input.defined() ? name(input.dtype()) : "undefined");
    variables.emplace_back(input.clone(), true);
  }
  const Variable output = function(variables);
  Generator generator(options.seed);
  const Tensor weights = uniform(output.shape(), 0.5, 1.5, generator, {output.dtype()});
  const auto host_weights = weights.to_vector<double>();
  if (output.requires_grad()) output.backward(weights.to(output.device()));

  GradcheckResult result;
  for (std::size_t i = 0; i < variables.size(); ++i) {
    Perturbed input(variables[i]);
    const std::int64_t size = variables[i].numel();
    const std::int64_t tried = std::min(size, options.most_elements);
    for (std::int64_t k = 0; k < tried; ++k) {
      const std::int64_t j = k * size / tried;
      input.shift(j, options.step);
      const double above = weighted_output(function, variables, host_weights);
      input.shift(j, -options.step);
      const double below = weighted_output(function, variables, host_weights);
      const double numeric = (above - below) / (2 * options.step);
      const double analytic = input.gradient(j);
      // The difference of two rounded outputs cannot be known better than this.
      const double rounding = 4e-16 * (std::abs(above) + std::abs(below)) / options.step;
      const double tolerance =
          options.absolute_tolerance + rounding +
          options.relative_tolerance * std::max(std::abs(analytic), std::abs(numeric));
      const double error = std::abs(analytic - numeric);
      result.largest_error = std::max(result.largest_error, std::isnan(error) ? INFINITY : error);
      if (!(std::isfinite(tolerance) && error <= tolerance) && result.passed) {
        result.passed = false;
        result.message = fmt::format("input {} element {}: analytic {:.12g}, numeric {:.12g}", i, j,
                                     analytic, numeric);
      }
    }
    input.restore();
  }
  return result;
}

}  // namespace gradus
