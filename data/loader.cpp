#include <gradus/data/loader.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include <gradus/data/sampler.h>
#include <gradus/tensor/check.h>
#include <gradus/tensor/ops.h>
#include <gradus/tensor/trace.h>

namespace gradus::data {
namespace {

constexpr std::int64_t epoch_limit = std::int64_t{1} << 32;  // a word of the random counter
constexpr int most_views = 1 << 16;                          // half a word of it

void validate(const Loader::Options& options, std::int64_t samples, Device images) {
  check(options.device == Device::cpu || cuda_available(), "loader", "{} cannot be used: {}",
        name(options.device), cuda_unavailable_reason());
  check(images == Device::cpu || images == options.device, "loader",
        "the data set lies on {}, the batches would lie on {}", name(images), name(options.device));
  check(options.batch_size >= 1, "loader", "batch size must be at least 1; got {}",
        options.batch_size);
  check(options.views >= 1 && options.views <= most_views, "loader",
        "views must lie in [1, {}]; got {}", most_views, options.views);
  check(options.batch_size <= std::numeric_limits<std::int64_t>::max() / options.views, "loader",
        "{} views of a batch of {} images are more than can be counted", options.views,
        options.batch_size);
  check(options.workers >= 0 && options.workers <= 1024, "loader",
        "workers must lie in [0, 1024]; got {}", options.workers);
  check(options.parts >= 1 && options.part >= 0 && options.part < options.parts, "loader",
        "part must lie in [0, {}), of so many parts; got {}", options.parts, options.part);
  check(options.batch_size % options.parts == 0, "loader",
        "a batch of {} images cannot be cut into {} equal parts", options.batch_size,
        options.parts);
  check(options.drop_last || samples % options.batch_size % options.parts == 0, "loader",
        "the last batch of an epoch has {} images, which cannot be cut into {} equal parts; drop "
        "partial batches or use another batch size",
        samples % options.batch_size, options.parts);
  check(!options.drop_last || options.batch_size <= samples, "loader",
        "no batch: the batch size, {}, exceeds the data set's {} images and partial batches are "
        "dropped; lower the batch size or keep the last batch",
        options.batch_size, samples);
}

}  // namespace

Loader::Loader(Dataset dataset, const Options& options)
    : dataset_(std::move(dataset)), options_(options) {
  validate(dataset_);
  validate(options_, dataset_.size(), dataset_.images.device());
  validate(options_.augment, dataset_.channels());
  check_image_size(options_.augment, dataset_.height(), dataset_.width(), dataset_.channels());
  dataset_ = dataset_.to(options_.device);
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
  prefetcher_ = std::make_unique<Prefetcher<Prepared>>(
      [this, order, epoch](std::int64_t index) { return prepare(order, epoch, index); },
      first_batch, batches_per_epoch(), options_.workers);
}

std::optional<Batch> Loader::next() {
  check(prefetcher_ != nullptr, "loader", "start_epoch must be called before next");
  const auto start = std::chrono::steady_clock::now();
  std::optional<Prepared> prepared = prefetcher_->next();
  if (prepared && options_.device != Device::cpu) make_images(*prepared);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  seconds_waited_ += elapsed.count();
  if (!prepared) return std::nullopt;
  return std::move(prepared->batch);
}

void Loader::make_images(Prepared& prepared) const {
  Tensor& images = prepared.batch.images;
  const Size2 size = options_.augment.view_size({dataset_.height(), dataset_.width()});
  images =
      empty({options_.views * prepared.batch.size(), size.height, size.width, dataset_.channels()},
            {DType::float32, options_.device});
  augment(options_.augment, dataset_.normalization, prepared.plan, dataset_.images, images);
}

Loader::Prepared Loader::prepare(const Tensor& order, std::int64_t epoch,
                                 std::int64_t index) const {
  const TraceInterval interval("data", "batch");
  const std::int64_t begin = index * options_.batch_size;
  const std::int64_t whole = std::min(options_.batch_size, dataset_.size() - begin);
  const std::int64_t count = whole / options_.parts, first = begin + options_.part * count;
  Prepared prepared;
  Batch& batch = prepared.batch;
  batch.samples = order.slice(first, first + count).clone();
  if (dataset_.is_labelled()) batch.labels = gather_rows(dataset_.labels, batch.samples);

  prepared.plan = draw_views(batch, epoch);
  if (options_.device == Device::cpu) make_images(prepared);
  return prepared;
}

std::vector<AugmentedView> Loader::draw_views(const Batch& batch, std::int64_t epoch) const {
  const auto height = static_cast<int>(dataset_.height());
  const auto width = static_cast<int>(dataset_.width());
  const std::int64_t* samples = batch.samples.data<std::int64_t>();
  std::vector<AugmentedView> views;
  views.reserve(static_cast<std::size_t>(options_.views * batch.size()));
  for (int view = 0; view < options_.views; ++view) {
    for (std::int64_t i = 0; i < batch.size(); ++i) {
      const ViewId id{.seed = options_.seed, .epoch = epoch, .sample = samples[i], .view = view};
      views.push_back({samples[i], draw_parameters(options_.augment, height, width, id)});
    }
  }
  return views;
}

}  // namespace gradus::data
