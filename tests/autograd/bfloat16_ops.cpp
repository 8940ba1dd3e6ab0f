// Every op case in bfloat16 against float32 on the same (rounded) inputs.
#include <doctest/doctest.h>

#include <set>
#include <string>

#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/op_cases.h"

namespace gradus::test {
namespace {

/// A few roundings of 2^-8 of a result's largest value; more where terms cancel that were rounded
/// before they were added, or where a gradient is made of a rounded result that is almost 1, or of
/// a rounded mean.
double tolerance(const std::string& name) {
  static const std::set<std::string> loose = {"mul.ends", "div.outer", "sigmoid.scalar",
                                              "softmax.wide_range", "variance.offset"};
  return loose.contains(name) ? 0.2 : 0x1p-6;
}

/// Output and gradients of a case whose inputs and output weights were rounded to bfloat16;
/// parameters stay float32.
std::vector<Tensor> results(const OpCase& op_case, DType dtype) {
  std::vector<Variable> inputs;
  for (const Tensor& value : op_case.values()) {
    const bool parameter = op_case.inputs[inputs.size()].parameter;
    const Tensor rounded = value.to(DType::bfloat16).to(parameter ? DType::float32 : dtype);
    inputs.emplace_back(on_device(rounded), true);
  }
  const Variable output = op_case.function(inputs);
  const Tensor weights = op_case.output_weights(output.shape()).to(DType::bfloat16);
  output.backward(on_device(weights.to(output.dtype())));
  std::vector<Tensor> values{output.value()};
  for (const Variable& input : inputs) values.push_back(input.grad());
  return values;
}

TEST_CASE("bfloat16 agrees with float32") {
  for (const OpCase& op_case : op_cases()) {
    if (!op_case.takes_bfloat16()) continue;
    CAPTURE(op_case.name);
    const auto narrow = results(op_case, DType::bfloat16);
    const auto full = results(op_case, DType::float32);
    for (std::size_t i = 0; i < full.size(); ++i) {
      CAPTURE(i);
      if (i > 0 && !op_case.inputs[i - 1].parameter) CHECK(narrow[i].dtype() == DType::bfloat16);
      CHECK(relative_error(narrow[i], full[i]) <= tolerance(op_case.name));
    }
  }
}

}  // namespace
}  // namespace gradus::test
