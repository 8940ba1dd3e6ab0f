// What a run will take, as --dry-run says it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "vicreg/options.h"

namespace gradus::vicreg {

/// Multiply-adds of the convolutions and linear layers for one image of shape [1, H, W, C],
/// forward, counted by running the model on `device`, where it lies.
std::uint64_t multiply_adds(nn::VICRegModel& model, const Shape& image, Device device);

/// Steps that were made with so many images each.
struct Rehearsal {
  std::int64_t batch_size;  ///< images, each in all its views
  double seconds;           ///< of a step
  std::uint64_t tensors;    ///< most bytes of tensors at a time
};

/// Steps of several sizes.
struct Rehearsals {
  std::vector<Rehearsal> done;  ///< of rising size
  std::uint64_t rest = 0;       ///< bytes of memory beside the tensors'
  std::uint64_t memory_of(const Rehearsal& step) const { return step.tensors + rest; }
};

/// What steps of another size will take, by the line through the last two of `done`, of rising
/// size; of one alone, in proportion. Both figures grow like that: with the images, from what the
/// weights need.
Rehearsal predict(const std::vector<Rehearsal>& done, std::int64_t batch_size);

/// The largest batch for which `room` more bytes suffice than `least` needs, by the line through
/// two rehearsals; 0 where they do not differ.
std::int64_t largest_fitting_batch(const Rehearsal& least, const Rehearsal& larger, double room);

/// What a run needs of something and what there is of it, in bytes.
struct Supply {
  std::uint64_t needed, available;
  bool suffices() const { return needed <= available; }
};

/// Why the run does not fit and what to change; nothing if it does. `fitting_batch`: the largest
/// batch whose memory suffices, 0 if there is none.
std::optional<std::string> objection(const TrainOptions& options, const Supply& memory,
                                     const Supply& disk, std::int64_t fitting_batch);

}  // namespace gradus::vicreg
