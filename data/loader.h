// Batches of augmented views, made ahead of the consumer by worker threads.
#pragma once

#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <gradus/data/augment.h>
#include <gradus/data/dataset.h>
#include <gradus/data/prefetcher.h>

namespace gradus::data {

/// One batch, or a part of it, of B samples. The images lie on the loader's device, the rest on the
/// CPU.
struct Batch {
  Tensor images;   ///< float32 [views * B, H, W, C]: all first views, then all second ones
  Tensor labels;   ///< int64 [B], on the CPU; undefined where the data set has none
  Tensor samples;  ///< int64 [B], on the CPU: indices in the data set

  /// B.
  std::int64_t size() const { return samples.size(0); }
};

/// Yields an epoch's batches in order. A batch depends only on the data set, the options, the epoch
/// and its index, never on the number of workers or on where the epoch was started; and on the
/// device only by rounding.
///
///     Loader loader(load_cifar10(folder, Split::train), {.batch_size = 128});
///     for (int epoch = 0; epoch < 10; ++epoch)
///       for (auto& [images, labels, samples] : loader.epoch(epoch)) { ... }
///
/// Images become float32, normalised as the data set says; without options, nothing else is done to
/// them.
///
/// On the CPU the workers make whole batches. On the GPU they draw the random choices; the pixels
/// stay on the GPU from the start (unless the data set lies there already, the loader copies its
/// images there once), and `next` starts the kernel that makes the views of them.
///
/// Used from one thread. The constructor throws Error if an option is out of range, the data set is
/// malformed or lies on another device, the device cannot be used, `drop_last` leaves no batch, or
/// a batch cannot be cut into parts.
class Loader {
 public:
  /// How many images a batch has, and how they are made.
  struct Options {
    std::int64_t batch_size = 256;  ///< images, each in all its views; at least 1
    int views = 1;                  ///< of each image, each augmented by itself; 1 to 65536
    bool shuffle = true;            ///< a new order each epoch; otherwise the files' order
    bool drop_last = false;         ///< leave out a partial batch at the end of an epoch
    int workers = 2;  ///< threads that make batches ahead, at most 1024; 0: the calling thread
    std::uint64_t seed = 0;  ///< of the order and the augmentation
    /// Each batch is cut into so many equal parts, in its order, of which this loader yields one:
    /// `parts` divides batch_size, and `part` is in [0, parts).
    int parts = 1;
    int part = 0;
    Device device = Device::cpu;  ///< where the images are made and lie
    AugmentOptions augment = {};
  };

  Loader(Dataset dataset, const Options& options);
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// Batches in an epoch, a partial one at its end included unless it is dropped.
  std::int64_t batches_per_epoch() const;

  /// The batches of epoch `epoch` from `first_batch` on, for one range-based for. Each lives until
  /// the next one is asked for.
  class Epoch;
  Epoch epoch(std::int64_t epoch, std::int64_t first_batch = 0);

  /// The same batch by batch: starts epoch `epoch` at batch `first_batch`; drops what was left of
  /// the epoch before.
  void start_epoch(std::int64_t epoch, std::int64_t first_batch = 0);
  /// The next batch, or nothing at the end of the epoch. Rethrows what failed in a worker.
  std::optional<Batch> next();

  /// Seconds that `next` has taken so far, in all epochs: the time the consumer stood still.
  double seconds_waited() const { return seconds_waited_; }

 private:
  /// What workers make: on the CPU a whole batch, on the GPU all but its images.
  struct Prepared {
    Batch batch;
    std::vector<AugmentedView> plan;  // [views * B], for the images
  };

  Prepared prepare(const Tensor& order, std::int64_t epoch, std::int64_t index) const;
  std::vector<AugmentedView> draw_views(const Batch& batch, std::int64_t epoch) const;
  void make_images(Prepared& prepared) const;

  Dataset dataset_;  // its images on the loader's device
  Options options_;
  double seconds_waited_ = 0.0;
  std::unique_ptr<Prefetcher<Prepared>> prefetcher_;  // last: its threads use the members above
};

/// The rest of an epoch as a range: its iterator asks the loader for one batch after the other, so
/// it is gone through once.
class Loader::Epoch {
 public:
  explicit Epoch(Loader& loader) : loader_(loader) {}

  class Iterator {
   public:
    explicit Iterator(Epoch& epoch) : epoch_(epoch) { ++*this; }
    Batch& operator*() const { return *epoch_.batch_; }
    Iterator& operator++() {
      epoch_.batch_.reset();  // its memory may serve the next one
      epoch_.batch_ = epoch_.loader_.next();
      return *this;
    }
    bool operator==(std::default_sentinel_t) const { return !epoch_.batch_; }

   private:
    Epoch& epoch_;
  };
  Iterator begin() { return Iterator(*this); }
  std::default_sentinel_t end() const { return {}; }

 private:
  Loader& loader_;
  std::optional<Batch> batch_;
};

inline Loader::Epoch Loader::epoch(std::int64_t epoch, std::int64_t first_batch) {
  start_epoch(epoch, first_batch);
  return Epoch(*this);
}

}  // namespace gradus::data
