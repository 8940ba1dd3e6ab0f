#include "vicreg/features.h"

#include <cmath>
#include <limits>

#include <gradus/autograd/variable.h>
#include <gradus/data/loader.h>
#include <gradus/tensor/ops.h>

namespace gradus::vicreg {

Tensor extract_features(nn::ResNet& encoder, const data::Dataset& dataset,
                        const std::function<void(std::int64_t)>& progress) {
  const NoGrad no_grad;
  const EvalMode eval_mode(encoder);
  data::Loader loader(
      dataset, {.batch_size = 128, .shuffle = false, .workers = 1, .device = encoder.device()});
  Tensor features =
      empty({dataset.size(), encoder.feature_count()}, {DType::float32, encoder.device()});
  std::int64_t done = 0;
  loader.start_epoch(0);
  while (const auto batch = loader.next()) {
    const Variable output = encoder(Variable(batch->images));
    check(
        all_finite(output.value()), "features",
        "the encoder gives features that are not finite (NaN or infinity) for an image of {} to {}",
        done, done + batch->size() - 1);
    features.slice(done, done + batch->size()).copy_from(output.value());
    done += batch->size();
    if (progress) progress(done);
  }
  return features;
}

Tensor unit_rows(const Tensor& x) {
  constexpr double smallest = std::numeric_limits<float>::denorm_min();
  // Divided by its largest element first, a row has a square sum in [1, F].
  const Tensor scaled = div(x, clamp(max(abs(x), {1}, true).values, smallest, INFINITY));
  return div(scaled, sqrt(clamp(sum(square(scaled), {1}, true), smallest, INFINITY)));
}

}  // namespace gradus::vicreg
