#include "vicreg/features.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include <gradus/autograd/ops.h>
#include <gradus/autograd/variable.h>
#include <gradus/data/loader.h>
#include <gradus/tensor/ops.h>
#include "vicreg/recipes.h"

namespace gradus::vicreg {
namespace {

/// What `network` makes of the batches of images, which it is given as `activations`: float32 rows
/// of `width` features.
Tensor extract(nn::ResNet& encoder, const data::Dataset& dataset, std::int64_t width,
               data::Loader::Options options, DType activations,
               const std::function<Variable(const Variable&)>& network) {
  const NoGrad no_grad;
  const EvalMode eval_mode(encoder);
  options.shuffle = false;
  options.device = encoder.device();
  data::Loader loader(dataset, options);
  Tensor features = empty({dataset.size(), width}, {DType::float32, encoder.device()});
  std::int64_t done = 0;
  loader.start_epoch(0);
  while (const auto next = loader.next()) {
    const Variable output = network(Variable(next->images.to(activations)));
    check(
        all_finite(output.value()), "features",
        "the encoder gives features that are not finite (NaN or infinity) for an image of {} to {}",
        done, done + next->size() - 1);
    features.slice(done, done + next->size()).copy_from(output.value());
    done += next->size();
  }
  return features;
}

}  // namespace

Tensor extract_features(nn::ResNet& encoder, const data::Dataset& dataset, DType activations) {
  return extract(encoder, dataset, encoder.feature_count(), {.batch_size = 128, .workers = 1},
                 activations,
                 [&](const Variable& images) { return cast(encoder(images), DType::float32); });
}

Tensor extract_view_features(nn::ResNet& encoder, nn::Projector& projector,
                             const data::Dataset& dataset, const ViewOptions& views,
                             std::uint64_t seed, int workers, DType activations) {
  const auto& [linear, norm] = projector.hidden.at(0);
  const EvalMode projector_mode(projector);
  const std::int64_t count = views.count;
  return extract(
      encoder, dataset, linear.options().out_features,
      {.batch_size = std::max<std::int64_t>(1, 512 / count),
       .views = views.count,
       .workers = workers,
       .seed = seed,
       .augment = augment_options(views)},
      activations, [&](const Variable& images) {
        const Variable hidden = cast(relu(norm(linear(encoder(images)))), DType::float32);
        return mean(reshape(hidden, {count, hidden.size(0) / count, hidden.size(1)}), {0});
      });
}

Tensor unit_rows(const Tensor& x) {
  constexpr double smallest = std::numeric_limits<float>::denorm_min();
  // Divided by its largest element first, a row has a square sum in [1, F].
  const Tensor scaled = div(x, clamp(max(abs(x), {1}, true).values, smallest, INFINITY));
  return div(scaled, sqrt(clamp(sum(square(scaled), {1}, true), smallest, INFINITY)));
}

}  // namespace gradus::vicreg
