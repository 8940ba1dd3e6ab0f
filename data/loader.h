// Batches of augmented views, made ahead of the consumer by worker threads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "data/augment.h"
#include "data/dataset.h"
#include "data/prefetcher.h"

namespace gradus::data {

struct LoaderOptions {
  std::int64_t batch_size = 256;
  int views = 2;           ///< augmented views of each image
  bool shuffle = true;     ///< a new order each epoch; otherwise the files' order
  bool drop_last = false;  ///< leave out a partial batch at the end of an epoch
  int workers = 2;         ///< threads; 0: batches are made on the calling thread
  int prefetch = 4;        ///< batches in the making or waiting, at most
  std::uint64_t seed = 0;
  AugmentOptions augment = {};
};

/// One batch of B samples, on the CPU.
struct Batch {
  Tensor images;  ///< float32 [views * B, size, size, 3]: all first views, then all second
  std::vector<Tensor> views;  ///< slices of `images`, each [B, size, size, 3]
  Tensor labels;              ///< int64 [B]
  Tensor samples;             ///< int64 [B]: indices in the data set
  std::int64_t epoch = 0;
  std::int64_t index = 0;  ///< position in the epoch

  std::int64_t size() const { return labels.size(0); }
};

/// Yields an epoch's batches in order. A batch depends only on the data set, the options, the epoch
/// and its index, never on the number of workers or on where the epoch was started.
///
///     loader.start_epoch(epoch);
///     while (auto batch = loader.next()) { ... }
///
/// Used from one thread. The constructor throws Error if an option is out of range, the data set is
/// malformed, or `drop_last` leaves no batch.
class Loader {
 public:
  Loader(Dataset dataset, const LoaderOptions& options);
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  const Dataset& dataset() const { return dataset_; }
  const LoaderOptions& options() const { return options_; }
  std::int64_t batches_per_epoch() const;

  /// Starts epoch `epoch` at batch `first_batch`; drops what was left of the epoch before.
  void start_epoch(std::int64_t epoch, std::int64_t first_batch = 0);
  /// The next batch, or nothing at the end of the epoch. Rethrows what failed in a worker.
  std::optional<Batch> next();

  /// Seconds that `next` has taken so far, in all epochs: the time the consumer stood still.
  double seconds_waited() const { return seconds_waited_; }

 private:
  Batch make_batch(const Tensor& order, std::int64_t epoch, std::int64_t index) const;

  Dataset dataset_;
  LoaderOptions options_;
  double seconds_waited_ = 0.0;
  std::unique_ptr<Prefetcher<Batch>> prefetcher_;  // last: its threads use the members above
};

}  // namespace gradus::data
