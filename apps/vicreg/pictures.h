// The pictures of a run folder: what is trained on, and how training goes.
#pragma once

#include <filesystem>
#include <vector>

#include <gradus/data/dataset.h>
#include "vicreg/metrics.h"

namespace gradus::vicreg {

/// Writes a PNG of K images, each beside its augmented views: original, view 1, view 2, ...
/// images [K, H, W, 3] uint8; views [K, h, w, 3] float32, normalised as given, which is undone
/// here. Pixels are shown three times their size; more than eight images stand in several columns.
void write_augmentation_grid(const std::filesystem::path& path, const Tensor& images,
                             const std::vector<Tensor>& views,
                             const data::Normalization& normalization);

/// Writes an SVG with the loss and its terms over the steps (long runs are averaged over
/// spans of steps, with the range behind), the learning rate, and the embeddings' health over the
/// epochs.
void write_curves(const std::filesystem::path& path, const Metrics& metrics);

}  // namespace gradus::vicreg
