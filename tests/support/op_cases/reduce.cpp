#include <fmt/format.h>

#include <gradus/autograd/ops.h>
#include "tests/support/op_cases.h"

namespace gradus::test {
namespace {

using Inputs = std::vector<Variable>;

struct Reduction {
  std::string name;
  std::function<InputSpec(const Shape&)> input;
  std::function<Variable(const Variable&, Axes, bool)> function;
};

std::vector<Reduction> reductions() {
  const auto uniform = [](const Shape& shape) { return uniform_input(shape); };
  const auto distinct = [](const Shape& shape) { return distinct_input(shape); };
  using V = const Variable&;
  return {
      {"sum", uniform, [](V x, Axes axes, bool keep) { return sum(x, axes, keep); }},
      {"mean", uniform, [](V x, Axes axes, bool keep) { return mean(x, axes, keep); }},
      {"variance", uniform,
       [](V x, Axes axes, bool keep) { return variance(x, axes, {.keep_axes = keep}); }},
      {"max", distinct, [](V x, Axes axes, bool keep) { return max(x, axes, keep); }},
  };
}

void add_axes(OpCases& cases) {
  struct Pattern {
    std::string name;
    Shape shape;
    Axes axes;
    bool keep_axes = false;
  };
  const std::vector<Pattern> patterns = {
      {"axes_all", {3, 4, 5}, {}},
      {"axes_0", {3, 4, 5}, {0}},
      {"axes_1", {3, 4, 5}, {1}},
      {"axes_2", {3, 4, 5}, {2}},
      {"axes_-1", {3, 4, 5}, {-1}},
      {"axes_0_1", {3, 4, 5}, {0, 1}},
      {"axes_1_2", {3, 4, 5}, {1, 2}},
      {"axes_0_2", {3, 4, 5}, {0, 2}},
      {"axes_0_1_2", {3, 4, 5}, {0, 1, 2}},
      {"axes_2_0", {3, 4, 5}, {2, 0}},
      {"keep_all", {2, 3}, {}, true},
      {"keep_0", {4, 3}, {0}, true},
      {"keep_middle", {2, 3, 4}, {1}, true},
      {"keep_0_2", {2, 3, 4}, {0, 2}, true},
      {"rank4_1_3", {2, 3, 2, 5}, {1, 3}},
      {"rank4_0_1_2", {2, 3, 2, 5}, {0, 1, 2}},
      {"long", {1037}, {}},
      {"tall", {301, 3}, {0}},
      {"wide", {3, 301}, {1}},
      {"nothing_left", {3, 0}, {0}},
      {"scalar", {}, {}},
      {"one", {1, 5, 1}, {0, 2}},
  };
  for (const Reduction& reduction : reductions()) {
    for (const Pattern& pattern : patterns) {
      // The unbiased variance of one element is not a number.
      const bool one_element = pattern.name == "scalar" || pattern.name == "one";
      if (reduction.name == "variance" && one_element) continue;
      cases.push_back({fmt::format("{}.{}", reduction.name, pattern.name),
                       {reduction.input(pattern.shape)},
                       [f = reduction.function, axes = pattern.axes, keep = pattern.keep_axes](
                           const Inputs& in) { return f(in[0], axes, keep); }});
    }
  }
}

}  // namespace

void add_reduce_cases(OpCases& cases) {
  add_axes(cases);
  cases.push_back(
      {"sum.empty", {uniform_input({0, 3})}, [](const Inputs& in) { return sum(in[0], {0}); }});
  cases.push_back(
      {"sum.empty_all", {uniform_input({0})}, [](const Inputs& in) { return sum(in[0]); }});
  cases.push_back({"variance.biased", {uniform_input({4, 5})}, [](const Inputs& in) {
                     return variance(in[0], {0}, {.correction = 0});
                   }});
  cases.push_back({"variance.correction2", {uniform_input({4, 5})}, [](const Inputs& in) {
                     return variance(in[0], {1}, {.correction = 2});
                   }});
  cases.push_back({"variance.one_row_biased", {uniform_input({1, 5})}, [](const Inputs& in) {
                     return variance(in[0], {0}, {.correction = 0});
                   }});
  // E[x^2] - mean^2 would lose three digits here in float32.
  cases.push_back({"variance.offset", {uniform_input({40, 3}, 1000, 1064)}, [](const Inputs& in) {
                     return variance(in[0], {0});
                   }});
}

}  // namespace gradus::test
