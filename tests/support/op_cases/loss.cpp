#include <fmt/format.h>

#include <gradus/autograd/ops.h>
#include <gradus/autograd/ops_fused.h>
#include <gradus/nn/coding_rate_loss.h>
#include <gradus/nn/losses.h>
#include <gradus/nn/vicreg_loss.h>
#include "tests/support/op_cases.h"

namespace gradus::test {
namespace {

using Inputs = std::vector<Variable>;

/// Labels 3 i mod classes.
Tensor labels(std::int64_t count, std::int64_t classes) {
  std::vector<std::int64_t> values;
  for (std::int64_t i = 0; i < count; ++i) values.push_back(3 * i % classes);
  return from_vector(values, {count});
}

void add_classification(OpCases& cases) {
  struct Pattern {
    std::string name;
    Shape logits;
    double label_smoothing;
  };
  const std::vector<Pattern> patterns = {{"matrix", {5, 4}, 0},
                                         {"one_row", {1, 7}, 0},
                                         {"one_class", {3, 1}, 0},
                                         {"smoothing", {5, 4}, 0.1},
                                         {"odd", {7, 37}, 0.25}};
  for (const auto& [name, logits, label_smoothing] : patterns) {
    cases.push_back({"cross_entropy." + name,
                     {uniform_input(logits, -3, 3)},
                     [target = labels(logits[0], logits[1]),
                      label_smoothing = label_smoothing](const Inputs& in) {
                       return nn::cross_entropy(in[0], target,
                                                {.label_smoothing = label_smoothing});
                     }});
  }
  for (const auto& [name, logits, label_smoothing] : patterns) {
    cases.push_back(
        {"softmax_cross_entropy." + name,
         {uniform_input(logits, -3, 3)},
         [target = labels(logits[0], logits[1]), label_smoothing = label_smoothing](
             const Inputs& in) { return softmax_cross_entropy(in[0], target, label_smoothing); }});
  }
  cases.push_back({"mse_loss.matrix",
                   {uniform_input({3, 5}), uniform_input({3, 5})},
                   [](const Inputs& in) { return nn::mse_loss(in[0], in[1]); }});
}

/// Embeddings whose standard deviations lie on both sides of the hinge at 1.
void add_vicreg(OpCases& cases) {
  struct Pattern {
    std::string name;
    std::int64_t n, d;
    double range;
  };
  const std::vector<Pattern> patterns = {{"below_hinge", 6, 4, 1},   {"around_hinge", 9, 5, 1.75},
                                         {"above_hinge", 6, 3, 5},   {"two_images", 2, 3, 1},
                                         {"one_dimension", 5, 1, 1}, {"odd", 7, 37, 1}};
  const std::vector<std::pair<std::string, nn::VICRegOptions>> options = {
      {"default", {}}, {"paper", {.variance = 12.5}}, {"seed", {.eps = 0}}};
  for (const auto& [name, n, d, range] : patterns) {
    const std::vector<InputSpec> inputs = {uniform_input({n, d}, -range, range),
                                           uniform_input({n, d}, -range, range)};
    for (const auto& [suffix, weights] : options) {
      cases.push_back({fmt::format("vicreg_loss.{}.{}", name, suffix), inputs,
                       [weights = weights](const Inputs& in) {
                         return nn::vicreg_loss(concat({in[0], in[1]}), 2, weights).total;
                       }});
    }
    cases.push_back({fmt::format("vicreg_loss.{}.terms", name), inputs, [](const Inputs& in) {
                       const nn::VICRegLoss loss = nn::vicreg_loss(concat({in[0], in[1]}), 2);
                       return concat({reshape(loss.invariance, {1}), reshape(loss.variance, {1}),
                                      reshape(loss.covariance, {1})});
                     }});
  }
}

/// The loss and its terms of several views as one op.
void add_vicreg_terms(OpCases& cases) {
  for (const auto& [name, shape] : {std::pair<std::string, Shape>{"two_views", {2, 6, 4}},
                                    {"five_views", {5, 7, 3}},
                                    {"wide", {3, 35, 70}}}) {
    cases.push_back({"vicreg_terms." + name,
                     {uniform_input(shape, -1.75, 1.75)},
                     [](const Inputs& in) { return vicreg_terms(in[0]); }});
  }
}

void add_coding_rate(OpCases& cases) {
  const auto add = [&](const std::string& name, std::int64_t views, std::int64_t n,
                       std::int64_t d) {
    cases.push_back(
        {"coding_rate_loss." + name,
         {uniform_input({views * n, d}, -1, 1)},
         [views](const Inputs& in) { return nn::coding_rate_loss(in[0], views).total; }});
  };
  add("more_dimensions", 3, 5, 9);
  add("more_images", 4, 9, 5);
  add("two_views", 2, 4, 4);
}

void add_dropout(OpCases& cases) {
  for (const auto& [name, p] :
       {std::pair<std::string, double>{"half", 0.5}, std::pair<std::string, double>{"tenth", 0.1},
        std::pair<std::string, double>{"none", 0}}) {
    cases.push_back({"dropout." + name, {uniform_input({7, 9})}, [p = p](const Inputs& in) {
                       Generator generator(42);
                       return dropout(in[0], p, generator);
                     }});
  }
}

}  // namespace

void add_loss_cases(OpCases& cases) {
  add_classification(cases);
  add_vicreg(cases);
  add_vicreg_terms(cases);
  add_coding_rate(cases);
  add_dropout(cases);
}

}  // namespace gradus::test
