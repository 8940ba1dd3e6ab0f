#include <fmt/format.h>

#include <gradus/autograd/ops.h>
#include "tests/support/op_cases.h"

namespace gradus::test {
namespace {

using Inputs = std::vector<Variable>;
using MakeInput = std::function<InputSpec(const Shape&)>;

MakeInput uniform_on(double low, double high) {
  return [=](const Shape& shape) { return uniform_input(shape, low, high); };
}

MakeInput distinct_from(double shift) {
  return [=](const Shape& shape) { return distinct_input(shape, shift); };
}

void add_unary(OpCases& cases) {
  struct Op {
    std::string name;
    MakeInput input;
    std::function<Variable(const Variable&)> function;
  };
  const std::vector<Op> ops = {
      {"affine", uniform_on(-1, 1), [](const Variable& x) { return affine(x, 2.5, -0.75); }},
      {"neg", uniform_on(-1, 1), [](const Variable& x) { return neg(x); }},
      {"exp", uniform_on(-1, 1), [](const Variable& x) { return exp(x); }},
      {"log", uniform_on(0.1, 3), [](const Variable& x) { return log(x); }},
      {"sqrt", uniform_on(0.1, 3), [](const Variable& x) { return sqrt(x); }},
      {"square", uniform_on(-1, 1), [](const Variable& x) { return square(x); }},
      {"pow.cubed", input_away_from_zero, [](const Variable& x) { return pow(x, 3); }},
      {"pow.fraction", uniform_on(0.2, 3), [](const Variable& x) { return pow(x, -1.5); }},
      {"abs", input_away_from_zero, [](const Variable& x) { return abs(x); }},
      {"clamp", distinct_from(0.03125), [](const Variable& x) { return clamp(x, -1, 0.5); }},
      {"relu", input_away_from_zero, [](const Variable& x) { return relu(x); }},
      {"leaky_relu", input_away_from_zero, [](const Variable& x) { return leaky_relu(x, 0.2); }},
      {"sigmoid", uniform_on(-6, 6), [](const Variable& x) { return sigmoid(x); }},
      {"tanh", uniform_on(-3, 3), [](const Variable& x) { return tanh(x); }},
      {"gelu", uniform_on(-4, 4), [](const Variable& x) { return gelu(x); }},
  };
  const std::vector<std::pair<std::string, Shape>> shapes = {
      {"scalar", {}}, {"one", {1, 1}}, {"vector", {37}}, {"empty", {0, 3}}, {"cube", {3, 5, 7}}};
  for (const Op& op : ops) {
    for (const auto& [suffix, shape] : shapes) {
      cases.push_back({fmt::format("{}.{}", op.name, suffix),
                       {op.input(shape)},
                       [f = op.function](const Inputs& in) { return f(in[0]); }});
    }
  }
  cases.push_back(
      {"exp.large", {uniform_input({20}, -60, 60)}, [](const Inputs& in) { return exp(in[0]); }});
  cases.push_back({"sigmoid.large", {uniform_input({20}, -60, 60)}, [](const Inputs& in) {
                     return sigmoid(in[0]);
                   }});
  cases.push_back(
      {"tanh.large", {uniform_input({64}, -30, 30)}, [](const Inputs& in) { return tanh(in[0]); }});
  cases.push_back(
      {"gelu.large", {uniform_input({20}, -10, 10)}, [](const Inputs& in) { return gelu(in[0]); }});
}

void add_binary(OpCases& cases) {
  struct Op {
    std::string name;
    MakeInput a, b;
    std::function<Variable(const Variable&, const Variable&)> function;
  };
  const std::vector<Op> ops = {
      {"add", uniform_on(-1, 1), uniform_on(-1, 1),
       [](const Variable& a, const Variable& b) { return add(a, b); }},
      {"sub", uniform_on(-1, 1), uniform_on(-1, 1),
       [](const Variable& a, const Variable& b) { return sub(a, b); }},
      {"mul", uniform_on(-1, 1), uniform_on(-1, 1),
       [](const Variable& a, const Variable& b) { return mul(a, b); }},
      {"div", uniform_on(-1, 1), uniform_on(0.5, 2),
       [](const Variable& a, const Variable& b) { return div(a, b); }},
      {"maximum", distinct_from(0), distinct_from(0.0625),
       [](const Variable& a, const Variable& b) { return maximum(a, b); }},
      {"minimum", distinct_from(0), distinct_from(0.0625),
       [](const Variable& a, const Variable& b) { return minimum(a, b); }},
  };
  struct Pattern {
    std::string name;
    Shape a, b;
  };
  const std::vector<Pattern> patterns = {
      {"same", {3, 4}, {3, 4}},       {"row", {3, 4}, {4}},
      {"row_left", {4}, {3, 4}},      {"column", {3, 1}, {3, 4}},
      {"outer", {3, 1}, {1, 4}},      {"scalar", {2, 3, 5}, {}},
      {"scalar_left", {}, {2, 3}},    {"scalars", {}, {}},
      {"ones", {1}, {1, 1, 1}},       {"middle", {2, 1, 3}, {2, 4, 3}},
      {"ends", {1, 4, 1}, {3, 1, 5}}, {"mixed", {2, 3, 1, 4}, {3, 5, 1}},
      {"tail", {3, 37}, {37}},        {"empty", {0, 3}, {1, 3}},
  };
  for (const Op& op : ops) {
    for (const Pattern& pattern : patterns) {
      cases.push_back({fmt::format("{}.{}", op.name, pattern.name),
                       {op.a(pattern.a), op.b(pattern.b)},
                       [f = op.function](const Inputs& in) { return f(in[0], in[1]); }});
    }
  }
}

/// 1 where 7 i mod 3 is not 0.
Tensor mask(const Shape& shape) {
  Tensor result = empty(shape, {DType::uint8});
  for (std::int64_t i = 0; i < result.numel(); ++i) {
    result.data<std::uint8_t>()[i] = i * 7 % 3 != 0;
  }
  return result;
}

void add_where(OpCases& cases) {
  struct Pattern {
    std::string name;
    Shape condition, a, b;
  };
  const std::vector<Pattern> patterns = {
      {"same", {3, 4}, {3, 4}, {3, 4}},
      {"broadcast_condition", {4}, {3, 4}, {3, 4}},
      {"broadcast_values", {2, 3, 4}, {4}, {3, 1}},
      {"scalars", {5}, {}, {}},
      {"empty", {0, 2}, {0, 2}, {2}},
  };
  for (const Pattern& pattern : patterns) {
    cases.push_back({"where." + pattern.name,
                     {uniform_input(pattern.a), uniform_input(pattern.b)},
                     [condition = mask(pattern.condition)](const Inputs& in) {
                       return where(condition.to(in[0].device()), in[0], in[1]);
                     }});
  }
}

void add_expressions(OpCases& cases) {
  cases.push_back({"operator.variables",
                   {uniform_input({3}), uniform_input({3}), uniform_input({3}, 1, 2)},
                   [](const Inputs& in) { return (in[0] + in[1] - in[0] * in[1]) / in[2]; }});
  cases.push_back({"operator.numbers", {uniform_input({5})}, [](const Inputs& in) {
                     return 2 * (-(in[0] + 1) * 3 - 1) / 4;
                   }});
  cases.push_back({"operator.number_first", {uniform_input({5})}, [](const Inputs& in) {
                     return 1.5 - (0.5 + in[0]);
                   }});
  cases.push_back({"cast.there_and_back", {uniform_input({3, 5})}, [](const Inputs& in) {
                     return cast(cast(in[0], DType::float64), in[0].dtype());
                   }});
  cases.push_back(
      {"reuse.square", {uniform_input({4})}, [](const Inputs& in) { return in[0] * in[0]; }});
  cases.push_back({"reuse.branches", {uniform_input({2, 3})}, [](const Inputs& in) {
                     return exp(in[0]) * in[0] + sum(in[0]) * in[0];
                   }});
}

}  // namespace

void add_elementwise_cases(OpCases& cases) {
  add_unary(cases);
  add_binary(cases);
  add_where(cases);
  add_expressions(cases);
}

}  // namespace gradus::test
