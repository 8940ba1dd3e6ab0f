#include "data/loader.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "data/sampler.h"
#include "tensor/check.h"

namespace gradus::data {
namespace {

constexpr std::int64_t epoch_limit = std::int64_t{1} << 32;  // words of the random counter
constexpr std::int64_t sample_limit = std::int64_t{1} << 32;

void validate(const Dataset& dataset) {
  check(dataset.images.defined() && dataset.labels.defined(), "loader", "the data set is empty");
  const Shape& images = dataset.images.shape();
  check(dataset.images.dtype() == DType::uint8 && images.rank() == 4 && images[3] == 3, "loader",
        "images must be uint8 [N, H, W, 3]; got {} {}", name(dataset.images.dtype()), images);
  check(images[0] >= 1 && images[1] >= 1 && images[2] >= 1 && images[0] < sample_limit, "loader",
        "the data set is empty or too large: images {}", images);
  check(dataset.labels.dtype() == DType::int64 && dataset.labels.shape() == Shape{images[0]},
        "loader", "labels must be int64 [N]; got {} {} beside images {}",
        name(dataset.labels.dtype()), dataset.labels.shape(), images);
}

void validate(const LoaderOptions& options, std::int64_t samples) {
  check(options.batch_size >= 1, "loader", "batch size must be at least 1; got {}",
        options.batch_size);
  check(options.views >= 1 && options.views <= 16, "loader", "views must lie in [1, 16]; got {}",
        options.views);
  check(options.workers >= 0 && options.workers <= 1024, "loader",
        "workers must lie in [0, 1024]; got {}", options.workers);
  check(options.prefetch >= 1 && options.prefetch <= 1024, "loader",
        "prefetch must lie in [1, 1024]; got {}", options.prefetch);
  check(!options.drop_last || options.batch_size <= samples, "loader",
        "no batch: the batch size, {}, exceeds the data set's {} images and partial batches are "
        "dropped; lower the batch size or keep the last batch",
        options.batch_size, samples);
  validate(options.augment);
}

}  // namespace

Loader::Loader(Dataset dataset, const LoaderOptions& options)
    : dataset_(std::move(dataset)), options_(options) {
  validate(dataset_);
  validate(options_, dataset_.size());
}

std::int64_t Loader::batches_per_epoch() const {
  return batch_count(dataset_.size(), options_.batch_size, options_.drop_last);
}

void Loader::start_epoch(std::int64_t epoch, std::int64_t first_batch) {
  check(epoch >= 0 && epoch < epoch_limit, "loader", "epoch must lie in [0, 2^32); got {}", epoch);
  check(first_batch >= 0 && first_batch <= batches_per_epoch(), "loader",
        "first batch must lie in [0, {}]; got {}", batches_per_epoch(), first_batch);
  prefetcher_.reset();
  const Tensor order = epoch_order(dataset_.size(), options_.shuffle, options_.seed, epoch);
  prefetcher_ = std::make_unique<Prefetcher<Batch>>(
      [this, order, epoch](std::int64_t index) { return make_batch(order, epoch, index); },
      first_batch, batches_per_epoch(), options_.workers, options_.prefetch);
}

std::optional<Batch> Loader::next() {
  check(prefetcher_ != nullptr, "loader", "start_epoch must be called before next");
  const auto start = std::chrono::steady_clock::now();
  std::optional<Batch> batch = prefetcher_->next();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  seconds_waited_ += elapsed.count();
  return batch;
}

Batch Loader::make_batch(const Tensor& order, std::int64_t epoch, std::int64_t index) const {
  const std::int64_t first = index * options_.batch_size;
  const std::int64_t count = std::min(options_.batch_size, dataset_.size() - first);
  const std::int64_t size = options_.augment.size;
  Batch batch;
  batch.epoch = epoch;
  batch.index = index;
  batch.samples = empty({count}, {DType::int64});
  batch.labels = empty({count}, {DType::int64});
  batch.images = empty({options_.views * count, size, size, 3});

  const auto height = static_cast<int>(dataset_.height());
  const auto width = static_cast<int>(dataset_.width());
  auto* samples = batch.samples.data<std::int64_t>();
  std::copy_n(order.data<std::int64_t>() + first, count, samples);
  const std::int64_t* all_labels = dataset_.labels.data<std::int64_t>();
  const std::uint8_t* all_images = dataset_.images.data<std::uint8_t>();
  auto* labels = batch.labels.data<std::int64_t>();
  auto* output = batch.images.data<float>();
  AugmentScratch scratch;
  for (int view = 0; view < options_.views; ++view) {
    for (std::int64_t i = 0; i < count; ++i) {
      const AugmentParameters parameters = draw_parameters(
          options_.augment, height, width,
          {.seed = options_.seed, .epoch = epoch, .sample = samples[i], .view = view});
      apply(options_.augment, parameters, all_images + samples[i] * height * width * 3, width,
            output, scratch);
      output += size * size * 3;
    }
    batch.views.push_back(batch.images.slice(view * count, (view + 1) * count));
  }
  for (std::int64_t i = 0; i < count; ++i) labels[i] = all_labels[samples[i]];
  return batch;
}

}  // namespace gradus::data
