#include <fmt/format.h>

#include <gradus/autograd/ops.h>
#include "tests/support/op_cases.h"

namespace gradus::test {
namespace {

using Inputs = std::vector<Variable>;

Shape matrix_shape(std::int64_t batch, std::int64_t rows, std::int64_t columns) {
  return batch == 0 ? Shape{rows, columns} : Shape{batch, rows, columns};
}

void add_matmul(OpCases& cases) {
  struct Size {
    std::string name;
    std::int64_t m, n, k;
  };
  const std::vector<Size> sizes = {
      {"small", 3, 5, 4}, {"one", 1, 1, 1},   {"inner_one", 3, 4, 1}, {"dot", 1, 1, 6},
      {"odd", 7, 9, 17},  {"wide", 2, 33, 3}, {"no_rows", 0, 3, 2},   {"no_inner", 2, 3, 0},
  };
  for (const auto& [name, m, n, k] : sizes) {
    for (const bool ta : {false, true}) {
      for (const bool tb : {false, true}) {
        for (const std::int64_t batch : {0, 3}) {
          cases.push_back(
              {fmt::format("matmul.{}.{}{}{}", name, ta ? 't' : 'n', tb ? 't' : 'n',
                           batch > 0 ? ".batched" : ""),
               {uniform_input(ta ? matrix_shape(batch, k, m) : matrix_shape(batch, m, k)),
                uniform_input(tb ? matrix_shape(batch, n, k) : matrix_shape(batch, k, n))},
               [ta, tb](const Inputs& in) {
                 return matmul(in[0], in[1], {.transpose_a = ta, .transpose_b = tb});
               }});
        }
      }
    }
  }
  cases.push_back({"matmul.no_batch",
                   {uniform_input({0, 2, 3}), uniform_input({0, 3, 2})},
                   [](const Inputs& in) { return matmul(in[0], in[1]); }});
  cases.push_back({"matmul.gram", {uniform_input({5, 3})}, [](const Inputs& in) {
                     return matmul(in[0], in[0], {.transpose_a = true});
                   }});
}

/// log det (x x^T + shift), which is positive definite.
void add_logdet(OpCases& cases) {
  const auto add = [&](const std::string& name, const Shape& x, double shift) {
    cases.push_back({"logdet." + name, {uniform_input(x)}, [shift](const Inputs& in) {
                       const std::int64_t n = in[0].size(-2);
                       const Tensor eye = one_hot(arange(0, n, {DType::int64, in[0].device()}), n,
                                                  options_of(in[0].value()));
                       const Variable gram = matmul(in[0], in[0], {.transpose_b = true});
                       return logdet(gram + Variable(eye) * shift);
                     }});
  };
  add("one", {1, 1}, 1);
  add("small", {3, 4}, 0.5);
  add("odd", {7, 5}, 0.25);
  add("more_than_a_warp", {37, 8}, 1);
  add("batch", {3, 5, 5}, 1);
  add("batch_of_one", {1, 4, 2}, 1);
  add("no_batch", {0, 4, 2}, 1);
}

void add_linear(OpCases& cases) {
  const auto add = [&](const std::string& name, const Shape& x, std::int64_t outputs, bool bias) {
    std::vector<InputSpec> inputs = {uniform_input(x), parameter_input({outputs, x[-1]})};
    if (bias) inputs.push_back(parameter_input({outputs}));
    cases.push_back({"linear." + name, inputs, [bias](const Inputs& in) {
                       return linear(in[0], in[1], bias ? in[2] : Variable());
                     }});
  };
  const std::vector<std::pair<std::string, Shape>> shapes = {
      {"matrix", {3, 4}}, {"cube", {2, 3, 4}}, {"row", {1, 4}}, {"empty", {0, 4}}};
  for (const auto& [name, shape] : shapes) {
    add(name, shape, 5, true);
    add(name + ".no_bias", shape, 5, false);
  }
  add("one_output", {3, 4}, 1, true);
  add("one_input", {3, 1}, 4, true);
  add("odd", {7, 33}, 17, true);
}

}  // namespace

void add_matmul_cases(OpCases& cases) {
  add_matmul(cases);
  add_logdet(cases);
  add_linear(cases);
}

}  // namespace gradus::test
