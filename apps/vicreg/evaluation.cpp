#include "vicreg/evaluation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include <gradus/nn/losses.h>
#include <gradus/tensor/ops.h>

namespace gradus::vicreg {

Share wilson_interval(std::int64_t successes, std::int64_t trials) {
  if (trials == 0) return {0, 0, 1};
  constexpr double z = 1.959963984540054;
  const double n = static_cast<double>(trials), p = static_cast<double>(successes) / n;
  const double denominator = 1 + z * z / n;
  const double centre = (p + z * z / (2 * n)) / denominator;
  const double half = z / denominator * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  return {p, std::max(0.0, centre - half), std::min(1.0, centre + half)};  // against rounding
}

Evaluation evaluate(const Tensor& scores, const Tensor& labels) {
  check(scores.rank() == 2 && labels.rank() == 1 && labels.size(0) == scores.size(0), "evaluate",
        "scores must be [N, classes] and labels [N]; got {} and {}", scores.shape(),
        labels.shape());
  const std::int64_t count = scores.size(0), classes = scores.size(1);
  Evaluation result;
  result.images = count;
  result.top1 = wilson_interval(nn::count_top_k(scores, labels, 1), count);
  result.top5 =
      static_cast<double>(nn::count_top_k(scores, labels, std::min<std::int64_t>(5, classes))) /
      static_cast<double>(count);
  result.confusion.assign(static_cast<std::size_t>(classes),
                          std::vector<std::int64_t>(static_cast<std::size_t>(classes), 0));
  const Tensor predicted = argmax(scores, -1);
  for (std::int64_t i = 0; i < count; ++i)
    ++result.confusion[labels.data<std::int64_t>()[i]][predicted.data<std::int64_t>()[i]];
  for (std::int64_t c = 0; c < classes; ++c) {
    std::int64_t total = 0;
    for (std::int64_t n : result.confusion[c]) total += n;
    result.class_accuracy.push_back(total == 0 ? std::numeric_limits<double>::quiet_NaN()
                                               : static_cast<double>(result.confusion[c][c]) /
                                                     static_cast<double>(total));
  }
  return result;
}

nlohmann::json to_json(const Evaluation& e, const std::vector<std::string>& class_names) {
  nlohmann::json by_class = nlohmann::json::object();
  for (std::size_t c = 0; c < class_names.size(); ++c)
    by_class[class_names[c]] = e.class_accuracy[c];
  return {{"images", e.images},
          {"top1", e.top1.value},
          {"top1_interval_95", {e.top1.low, e.top1.high}},
          {"top5", e.top5},
          {"class_accuracy", by_class},
          {"classes", class_names},
          {"confusion", e.confusion}};
}

std::string headline(const Evaluation& e) {
  return fmt::format(
      "top-1 {:.2f} % (95 % interval {:.2f} to {:.2f}), top-5 {:.2f} %, {} test images\n",
      100 * e.top1.value, 100 * e.top1.low, 100 * e.top1.high, 100 * e.top5, e.images);
}

std::string to_text(const Evaluation& e, const std::vector<std::string>& class_names) {
  constexpr std::size_t most_columns = 20;  // of a line that can be read
  const bool confusion = class_names.size() <= most_columns;
  std::string text = headline(e);
  if (confusion)
    text += "confusion (rows: true class, columns: predicted, in the same order), accuracy:\n";
  for (std::size_t c = 0; c < class_names.size(); ++c) {
    text += fmt::format("  {:<12}", class_names[c]);
    for (std::size_t p = 0; confusion && p < class_names.size(); ++p)
      text += fmt::format("{:>6}", e.confusion[c][p]);
    const double accuracy = e.class_accuracy[c];  // NaN of a class without images
    text += std::isnan(accuracy) ? fmt::format("  {:>6}\n", "-")
                                 : fmt::format("  {:>6.2f} %\n", 100 * accuracy);
  }
  return text;
}

}  // namespace gradus::vicreg
