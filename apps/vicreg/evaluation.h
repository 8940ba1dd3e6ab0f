// What a classifier's scores say: accuracies with their uncertainty, by class, and the confusions.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include <gradus/tensor/tensor.h>

namespace gradus::vicreg {

/// A share of n trials with its 95 % interval (Wilson, "Probable inference", 1927).
struct Share {
  double value = 0, low = 0, high = 0;
};
/// That of `successes` of `trials`; of none the interval is [0, 1].
Share wilson_interval(std::int64_t successes, std::int64_t trials);

/// How a classifier does on labelled images; shares are in [0, 1].
struct Evaluation {
  std::int64_t images = 0;
  Share top1;                          ///< of the images whose class has the largest score
  double top5 = 0;                     ///< of those whose class has one of the 5 largest
  std::vector<double> class_accuracy;  ///< NaN for a class without images
  std::vector<std::vector<std::int64_t>> confusion;  ///< [true class][predicted class]
};

/// Judges scores [N, classes] float32 against labels int64 [N]; equal scores rank by class index.
Evaluation evaluate(const Tensor& scores, const Tensor& labels);

/// As linear_eval.json holds it; a name for each class.
nlohmann::json to_json(const Evaluation& evaluation, const std::vector<std::string>& class_names);
/// A line for a person, with its end: accuracies and the number of images.
std::string headline(const Evaluation& evaluation);
/// The headline, then each class's accuracy, with the confusion matrix if it has at most 20
/// columns.
std::string to_text(const Evaluation& evaluation, const std::vector<std::string>& class_names);

}  // namespace gradus::vicreg
