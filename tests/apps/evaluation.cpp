// Accuracies, their interval, confusions.
#include "vicreg/evaluation.h"

#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/support/command.h"
#include "tests/support/errors.h"
#include "tests/support/near.h"

namespace {

using namespace gradus;
using vicreg::evaluate;
using vicreg::Evaluation;
using vicreg::wilson_interval;

Tensor labels_of(const std::vector<std::int64_t>& labels) {
  return from_vector<std::int64_t>(labels, {static_cast<std::int64_t>(labels.size())});
}

}  // namespace

TEST_CASE("Wilson's interval") {
  struct Case {
    std::int64_t successes, trials;
    double low, high;
  };
  // To four digits; 50 of 100 is the usual example.
  for (const auto& [successes, trials, low, high] :
       {Case{50, 100, 0.4038, 0.5962}, Case{0, 10, 0, 0.2775}, Case{10, 10, 0.7225, 1},
        Case{1, 1, 0.2065, 1}, Case{9207, 10000, 0.9152, 0.9258}}) {
    const vicreg::Share share = wilson_interval(successes, trials);
    CHECK(share.value == test::near(static_cast<double>(successes) / trials));
    CHECK(std::abs(share.low - low) < 6e-5);
    CHECK(std::abs(share.high - high) < 6e-5);
    CHECK(share.low >= 0);
    CHECK(share.high <= 1);
  }
  const vicreg::Share nothing = wilson_interval(0, 0);
  CHECK(nothing.low == 0);
  CHECK(nothing.high == 1);
}

TEST_CASE("an evaluation counts by class") {
  // Predictions 0, 1, 1, 2, 0 (a tie goes to the first class); class 3 has no images.
  const Tensor scores = from_vector<float>({9, 1, 0, 0,  //
                                            0, 5, 4, 0,  //
                                            0, 5, 4, 0,  //
                                            1, 2, 3, 0,  //
                                            7, 7, 7, 7},
                                           {5, 4});
  const Evaluation e = evaluate(scores, labels_of({0, 1, 2, 2, 1}));
  CHECK(e.images == 5);
  CHECK(e.top1.value == test::near(0.6));
  CHECK(e.top5 == 1);  // of four classes
  CHECK(e.confusion == std::vector<std::vector<std::int64_t>>{
                           {1, 0, 0, 0}, {1, 1, 0, 0}, {0, 1, 1, 0}, {0, 0, 0, 0}});
  CHECK(e.class_accuracy[0] == 1);
  CHECK(e.class_accuracy[1] == 0.5);
  CHECK(e.class_accuracy[2] == 0.5);
  CHECK(std::isnan(e.class_accuracy[3]));
}

TEST_CASE("top-5 counts the five highest scores") {
  // Class c has score 10 - c: ranks are the class indices.
  std::vector<float> row;
  for (int c = 0; c < 10; ++c) row.push_back(10.0f - static_cast<float>(c));
  std::vector<float> scores;
  for (int i = 0; i < 4; ++i) scores.insert(scores.end(), row.begin(), row.end());
  const Evaluation e = evaluate(from_vector(scores, {4, 10}), labels_of({0, 4, 5, 9}));
  CHECK(e.top1.value == 0.25);
  CHECK(e.top5 == 0.5);
}

TEST_CASE("the results as JSON and as text") {
  const Tensor scores = from_vector<float>({1, 0, 1, 0}, {2, 2});
  const Evaluation e = evaluate(scores, labels_of({0, 0}));
  const std::vector<std::string> names{"cat", "dog"};
  const nlohmann::json json = nlohmann::json::parse(to_json(e, names).dump());
  CHECK(json.at("images") == 2);
  CHECK(json.at("top1") == 1.0);
  CHECK(json.at("top1_interval_95").at(0).get<double>() == test::near(0.3424, 2e-4));
  CHECK(json.at("top5") == 1.0);
  CHECK(json.at("class_accuracy").at("cat") == 1.0);
  CHECK(json.at("class_accuracy").at("dog").is_null());
  CHECK(json.at("classes") == nlohmann::json(names));
  CHECK(json.at("confusion") == nlohmann::json::parse("[[2,0],[0,0]]"));
  const std::string text = to_text(e, names);
  CHECK(test::contains(text, "top-1 100.00 %"));
  CHECK(test::contains(text, "cat"));
  CHECK(test::lines_of(text).size() == 4);
}

TEST_CASE("an evaluation refuses what does not fit") {
  CHECK_ERROR(evaluate(zeros({2, 3}), labels_of({0})), "[2, 3]");
  CHECK_ERROR(evaluate(zeros({1, 3}), labels_of({3})), "label");
  CHECK_ERROR(evaluate(zeros({1, 3}), labels_of({-1})), "label");
}
