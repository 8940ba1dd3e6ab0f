// STL-10 in its official binary layout (Coates, Lee and Ng, "An analysis of single-layer networks
// in unsupervised feature learning", AISTATS 2011).
#pragma once

#include <filesystem>

#include <gradus/data/dataset.h>

namespace gradus::data {

/// Reads 5,000 training images (train_X.bin, train_y.bin) or 8,000 test images (test_X.bin,
/// test_y.bin) as uint8 [N, 96, 96, 3], with labels of 10 classes and no normalisation.
///
/// `folder` is stl10_binary itself or the folder that holds it. An image is three 96x96 planes
/// (R, G, B), each by columns; a label is a byte from 1 to 10, which here is 0 to 9. The files'
/// order is kept. Throws Error if the folder or a file is missing, a file has another size, or a
/// label lies outside.
Dataset load_stl10(const std::filesystem::path& folder, Split split);

/// The first `count` >= 1 of the 100,000 images without labels (unlabeled_X.bin), all if there are
/// fewer; as load_stl10.
Dataset load_stl10_unlabeled(const std::filesystem::path& folder, std::int64_t count = 100'000);

}  // namespace gradus::data
