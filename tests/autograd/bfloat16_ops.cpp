// Every op case in bfloat16 against float32 on the same (rounded) inputs.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/compare.h"
#include "tests/support/op_cases.h"

namespace gradus::test {
namespace {

/// Whether a case needs ops that have no bfloat16 yet.
bool full_precision_only(const std::string& name) {
  const auto starts = [&](std::string_view prefix) { return name.starts_with(prefix); };
  return starts("matmul") || starts("linear") || starts("conv2d") || starts("batch_norm") ||
         starts("vicreg");
}

/// What a case may differ by: a few roundings of 2^-9 of its largest value, or of 1 where a
/// gradient is made of the rounded output or of terms that cancel.
double tolerance(const std::string& name, const Tensor& expected) {
  bool cancels = false;
  for (const auto* op : {"sigmoid.", "tanh.", "mul.", "div.", "softmax.", "log_softmax."})
    cancels |= name.starts_with(op);
  return 0x1p-6 * std::max(max_abs(expected), cancels ? 1.0 : 0.0);
}

/// Output and gradients of a case whose inputs and output weights were rounded to bfloat16.
std::vector<Tensor> results(const OpCase& op_case, DType dtype) {
  const auto rounded = [&](const Tensor& x) { return x.to(DType::bfloat16).to(dtype); };
  std::vector<Variable> inputs;
  for (const Tensor& value : op_case.values()) inputs.emplace_back(rounded(value), true);
  const Variable output = op_case.function(inputs);
  output.backward(rounded(op_case.output_weights(output.shape())).to(output.dtype()));
  std::vector<Tensor> values{output.value()};
  for (const Variable& input : inputs) values.push_back(input.grad());
  return values;
}

TEST_CASE("bfloat16 agrees with float32") {
  for (const OpCase& op_case : op_cases()) {
    if (full_precision_only(op_case.name)) continue;
    const auto narrow = results(op_case, DType::bfloat16);
    const auto full = results(op_case, DType::float32);
    for (std::size_t i = 0; i < full.size(); ++i) {
      CAPTURE(op_case.name);
      CAPTURE(i);
      if (i > 0) CHECK(narrow[i].dtype() == DType::bfloat16);
      CHECK(max_difference(narrow[i], full[i]) <= tolerance(op_case.name, full[i]));
    }
  }
}

}  // namespace
}  // namespace gradus::test
