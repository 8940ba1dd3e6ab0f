// The test images in a report: run_report.h.
#include <gradus/data/sampler.h>
#include <gradus/tensor/ops.h>
#include "vicreg/features.h"
#include "vicreg/pictures.h"
#include "vicreg/run_report.h"
#include "vicreg/tsne.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace gradus::vicreg {
namespace {

using nlohmann::json;

constexpr std::int64_t most_map_images = 1000;
constexpr std::int64_t most_queries = 20, most_neighbours = 6, most_mistakes = 24;

/// The images of these numbers on the sheet; the number of the first there.
std::int64_t add(PictureSheet& sheet, const data::Dataset& dataset, const Tensor& samples) {
  return sheet.add(gather_rows(dataset.images, samples));
}

/// For each of `queries` its most similar training images and their similarities, nearest first.
json neighbours(PictureSheet& sheet, const data::Dataset& train, const Tensor& train_features,
                const Tensor& queries) {
  const Tensor similarity =
      matmul(unit_rows(queries), unit_rows(train_features), {.transpose_b = true}).to(Device::cpu);
  const std::int64_t count = train.size(), k = std::min(most_neighbours, count);
  json rows = json::array();
  for (std::int64_t i = 0; i < queries.size(0); ++i) {
    const float* row = similarity.data<float>() + i * count;
    const std::vector<std::int64_t> found = nearest(row, count, k);
    const std::int64_t picture = add(sheet, train, from_vector(found, {k}));
    json neighbours = json::array();
    for (std::int64_t j = 0; j < k; ++j)
      neighbours.push_back({{"picture", picture + j},
                            {"label", train.labels.data<std::int64_t>()[found[j]]},
                            {"similarity", std::round(row[found[j]] * 1000) / 1000}});
    rows.push_back(neighbours);
  }
  return rows;
}

/// The images that were given a wrong class with the largest lead over their own.
json mistakes(PictureSheet& sheet, const data::Dataset& test, const Tensor& scores,
              const Tensor& predicted) {
  struct Mistake {
    std::int64_t image;
    float lead;
  };
  std::vector<Mistake> found;
  const std::int64_t classes = scores.size(1);
  const std::int64_t *labels = test.labels.data<std::int64_t>(),
                     *predictions = predicted.data<std::int64_t>();
  for (std::int64_t i = 0; i < test.size(); ++i) {
    const float* row = scores.data<float>() + i * classes;
    if (predictions[i] != labels[i]) found.push_back({i, row[predictions[i]] - row[labels[i]]});
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Mistake& a, const Mistake& b) { return a.lead > b.lead; });
  found.resize(std::min(found.size(), static_cast<std::size_t>(most_mistakes)));
  json list = json::array();
  for (const Mistake& mistake : found)
    list.push_back({{"picture", add(sheet, test, from_vector<std::int64_t>({mistake.image}, {1}))},
                    {"label", labels[mistake.image]},
                    {"predicted", predictions[mistake.image]}});
  return list;
}

}  // namespace

json evaluation_pictures(const data::Dataset& train, const data::Dataset& test,
                         const Tensor& train_features, const Tensor& test_features,
                         const Tensor& scores) {
  // In a random order, since the files of some data sets are sorted by class.
  const std::int64_t count = std::min(test.size(), most_map_images);
  const Tensor samples = data::epoch_order(test.size(), true, 0, 0).slice(0, count);
  const Tensor queries = samples.slice(0, std::min(count, most_queries));
  const Tensor predicted = argmax(scores, -1);
  const std::vector<double> points = tsne(gather_rows(test_features, samples));
  PictureSheet sheet(32);
  add(sheet, test, samples);  // picture i is that of point i
  json map = {{"x", json::array()},
              {"y", json::array()},
              {"labels", gather_rows(test.labels, samples).to_vector<std::int64_t>()},
              {"predicted", gather_rows(predicted, samples).to_vector<std::int64_t>()}};
  for (std::int64_t i = 0; i < count; ++i) {
    map["x"].push_back(std::round(points[2 * i] * 1000) / 1000);
    map["y"].push_back(std::round(points[2 * i + 1] * 1000) / 1000);
  }
  json result = {
      {"classes", test.class_names},
      {"map", map},
      {"neighbours", neighbours(sheet, train, train_features, gather_rows(test_features, queries))},
      {"mistakes", mistakes(sheet, test, scores, predicted)}};
  result["sheet"] = sheet.to_json();
  return result;
}

}  // namespace gradus::vicreg
