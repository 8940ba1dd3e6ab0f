#include <gradus/autograd/ops_fused.h>
#include "tests/support/op_cases.h"

namespace gradus::test {
namespace {

using Inputs = std::vector<Variable>;

/// Constants for batch norm in evaluation: mean 1/4 - c/8, variance 1/2 + c/4.
BatchStatistics fixed_statistics(const Variable& x) {
  std::vector<double> mean, variance;
  for (std::int64_t c = 0; c < x.size(-1); ++c) {
    mean.push_back(0.25 - 0.125 * static_cast<double>(c));
    variance.push_back(0.5 + 0.25 * static_cast<double>(c));
  }
  const DType dtype = x.dtype() == DType::bfloat16 ? DType::float32 : x.dtype();
  return {from_vector(mean, {x.size(-1)}).to(dtype).to(x.device()),
          from_vector(variance, {x.size(-1)}).to(dtype).to(x.device())};
}

/// The batch's own statistics, or in evaluation fixed ones.
BatchStatistics statistics_of(const Variable& x, const BatchNormOptions& options) {
  return options.training ? batch_norm_statistics(x.value()) : fixed_statistics(x);
}

/// Inputs x, gamma, beta.
OpCase::Function norm(const BatchNormOptions& options) {
  return [options](const Inputs& in) {
    return batch_norm(in[0], statistics_of(in[0], options), in[1], in[2], options);
  };
}

/// Inputs x, gamma, beta and, if there is a fourth, the residual.
OpCase::Function norm_relu(const BatchNormOptions& options) {
  return [options](const Inputs& in) {
    return batch_norm_relu(in[0], statistics_of(in[0], options), in[1], in[2], options,
                           in.size() > 3 ? in[3] : Variable());
  };
}

void add_batch_norm(OpCases& cases) {
  struct Pattern {
    std::string name;
    Shape shape;
    double range = 1;
  };
  // Two rows whose variance is large beside eps are normalised to 1 and -1 whatever they are: their
  // gradient would be nothing but rounding errors.
  const std::vector<Pattern> patterns = {{"matrix", {4, 3}},         {"image", {2, 3, 3, 5}},
                                         {"cube", {3, 4, 2}},        {"one_channel", {7, 1}},
                                         {"two_rows", {2, 3}, 0.01}, {"odd", {5, 17}},
                                         {"long", {65, 2}}};
  for (const auto& [name, shape, range] : patterns) {
    const std::int64_t channels = shape[-1];
    const std::vector<InputSpec> inputs = {uniform_input(shape, -range, range),
                                           parameter_input({channels}, 0.5, 1.5),
                                           parameter_input({channels})};
    std::vector<InputSpec> with_residual = inputs;
    with_residual.push_back(uniform_input(shape));
    for (const bool training : {true, false}) {
      const std::string what = (training ? ".train." : ".eval.") + name;
      const BatchNormOptions options{.training = training};
      cases.push_back({"batch_norm" + what, inputs, norm(options)});
      cases.push_back(
          {"batch_norm" + what + ".eps", inputs, norm({.eps = 0.1, .training = training})});
      cases.push_back({"batch_norm_relu" + what, inputs, norm_relu(options)});
      cases.push_back({"batch_norm_relu" + what + ".add", with_residual, norm_relu(options)});
    }
  }
  cases.push_back(
      {"batch_norm.train.offset",
       {uniform_input({8, 3}, 10, 12), parameter_input({3}, 0.5, 1.5), parameter_input({3})},
       norm({})});
}

void add_conv2d_with_statistics(OpCases& cases) {
  cases.push_back(
      {"conv2d_with_statistics.3x3_stride2",
       {uniform_input({2, 5, 6, 2}), parameter_input({3, 3, 3, 2})},
       [](const Inputs& in) {
         return conv2d_with_statistics(in[0], in[1], {.stride = 2, .padding = 1}).output;
       }});
}

void add_off_diagonal(OpCases& cases) {
  const std::vector<std::pair<std::string, std::int64_t>> sizes = {
      {"empty", 0}, {"one", 1}, {"two", 2}, {"five", 5}, {"eight", 8}, {"odd", 37}};
  for (const auto& [name, n] : sizes) {
    cases.push_back({"off_diagonal_square_sum." + name,
                     {uniform_input({n, n})},
                     [](const Inputs& in) { return off_diagonal_square_sum(in[0]); }});
  }
}

void add_softmax(OpCases& cases) {
  const std::vector<std::pair<std::string, InputSpec>> inputs = {
      {"vector", uniform_input({5})},
      {"matrix", uniform_input({3, 4}, -3, 3)},
      {"cube", uniform_input({2, 3, 4})},
      {"one", uniform_input({3, 1})},
      {"odd", uniform_input({2, 37})},
      {"large", uniform_input({3, 37}, 990, 1010)},
      {"wide_range", uniform_input({4, 37}, -100, 100)},
      {"empty", uniform_input({0, 3})},
  };
  for (const auto& [name, input] : inputs) {
    cases.push_back({"softmax." + name, {input}, [](const Inputs& in) { return softmax(in[0]); }});
    cases.push_back(
        {"log_softmax." + name, {input}, [](const Inputs& in) { return log_softmax(in[0]); }});
  }
}

}  // namespace

void add_norm_cases(OpCases& cases) {
  add_batch_norm(cases);
  add_conv2d_with_statistics(cases);
  add_off_diagonal(cases);
  add_softmax(cases);
}

}  // namespace gradus::test
