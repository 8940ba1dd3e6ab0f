// The training images in a report: run_report.h.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include <gradus/data/augment.h>
#include "vicreg/recipes.h"
#include "vicreg/run_report.h"

namespace gradus::vicreg {
namespace {

constexpr std::int64_t most_images_shown = 8;
constexpr int most_views_shown = 8;
constexpr std::int64_t most_pixels_a_side = 64;

}  // namespace

PictureSheet view_sheet(const data::Dataset& train, const TrainOptions& options,
                        std::int64_t epoch) {
  const data::AugmentOptions augment = augment_options(options.views);
  const data::Dataset shown = train.take(most_images_shown);
  const std::int64_t height = shown.height(), width = shown.width();
  const Size2 size = augment.view_size({height, width});
  const std::int64_t longest = std::max({height, width, size.height, size.width});
  PictureSheet sheet(std::min(most_pixels_a_side, longest), shown.size());
  sheet.add(shown.images);
  for (int view = 0; view < std::min(options.views.count, most_views_shown); ++view) {
    std::vector<data::AugmentedView> drawn;
    for (std::int64_t i = 0; i < shown.size(); ++i) {
      drawn.push_back({i, data::draw_parameters(
                              augment, static_cast<int>(height), static_cast<int>(width),
                              {.seed = options.seed, .epoch = epoch, .sample = i, .view = view})});
    }
    Tensor made = empty({shown.size(), size.height, size.width, shown.channels()});
    data::augment(augment, shown.normalization, drawn, shown.images, made);
    sheet.add(denormalize(made, shown.normalization));
  }
  return sheet;
}

nlohmann::json training_pictures(const data::Dataset& train, const TrainOptions& options,
                                 std::int64_t epoch) {
  const data::Dataset shown = train.take(most_images_shown);
  const Size2 size(shown.height(), shown.width());
  const Size2 view_size = augment_options(options.views).view_size(size);
  nlohmann::json labels = nlohmann::json::array();
  if (shown.is_labelled())
    for (const std::int64_t label : shown.labels.to_vector<std::int64_t>())
      labels.push_back(shown.class_names.at(static_cast<std::size_t>(label)));
  return {{"sheet", view_sheet(train, options, epoch).to_json()},
          {"images", shown.size()},
          {"views", std::min(options.views.count, most_views_shown)},
          {"image_size", {size.height, size.width}},
          {"view_size", {view_size.height, view_size.width}},
          {"epoch", epoch + 1},
          {"labels", labels}};
}

}  // namespace gradus::vicreg
