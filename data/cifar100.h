// CIFAR-100 in its official binary layout (Krizhevsky, "Learning multiple layers of features from
// tiny images", 2009).
#pragma once

#include <filesystem>

#include <gradus/data/dataset.h>

namespace gradus::data {

/// Reads 50,000 training images (train.bin) or 10,000 test images (test.bin) as uint8
/// [N, 32, 32, 3], with their fine labels (100 classes) and no normalisation.
///
/// `folder` is cifar-100-binary itself or the folder that holds it. A file is records of a coarse
/// label byte, a fine one, and three 32x32 planes (R, G, B); records keep the files' order.
/// Throws Error if the folder or a file is missing, a file has another size, or a fine label
/// exceeds 99.
Dataset load_cifar100(const std::filesystem::path& folder, Split split);

}  // namespace gradus::data
