#include "tests/support/op_cases.h"

#include <fmt/format.h>

#include <set>

#include <gradus/tensor/check.h>
#include "tests/support/reference.h"

namespace gradus::test {
namespace {

Tensor draw(const InputSpec& spec, const std::string& name) {
  switch (spec.kind) {
    case InputSpec::Kind::away_from_zero: return named_away_from_zero(name, spec.shape);
    case InputSpec::Kind::distinct: return named_distinct(name, spec.shape, spec.shift);
    case InputSpec::Kind::uniform: break;
  }
  return named_uniform(name, spec.shape, spec.low, spec.high);
}

OpCases all_cases() {
  OpCases cases;
  add_elementwise_cases(cases);
  add_shape_cases(cases);
  add_reduce_cases(cases);
  add_matmul_cases(cases);
  add_conv_cases(cases);
  add_pool_cases(cases);
  add_norm_cases(cases);
  add_loss_cases(cases);
  std::set<std::string> names;
  for (const OpCase& op_case : cases) {
    check(names.insert(op_case.name).second, "op_cases", "{} stands there twice", op_case.name);
  }
  return cases;
}

}  // namespace

std::vector<Tensor> OpCase::values() const {
  std::vector<Tensor> result;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    result.push_back(draw(inputs[i], fmt::format("{}/input{}", name, i)));
  }
  return result;
}

bool OpCase::takes_bfloat16() const {
  for (const char* full_precision :
       {"logdet.", "vicreg_loss.", "vicreg_terms.", "coding_rate_loss."})
    if (name.starts_with(full_precision)) return false;
  return true;
}

Tensor OpCase::output_weights(const Shape& shape) const {
  return named_uniform(name + "/doutput", shape, 0.5, 1.5);
}

const std::vector<OpCase>& op_cases() {
  static const OpCases cases = all_cases();
  return cases;
}

OpResult run_case(const OpCase& op_case, DType dtype, Device device) {
  std::vector<Variable> inputs;
  for (const Tensor& value : op_case.values()) {
    const bool parameter = op_case.inputs[inputs.size()].parameter;
    const DType own = parameter && dtype == DType::bfloat16 ? DType::float32 : dtype;
    inputs.emplace_back(value.to(own).to(device), true);
  }
  const Variable output = op_case.function(inputs);
  output.backward(op_case.output_weights(output.shape()).to(output.dtype()).to(device));
  OpResult result{.output = output.value(), .gradients = {}};
  for (const Variable& input : inputs) result.gradients.push_back(input.grad());
  return result;
}

}  // namespace gradus::test
