// CIFAR-10 in its official binary layout (Krizhevsky, "Learning multiple layers of features from
// tiny images", 2009).
#pragma once

#include <filesystem>

#include <gradus/data/dataset.h>

namespace gradus::data {

/// Mean and standard deviation of the training pixels in [0, 1], by channel (R, G, B).
inline Normalization cifar10_normalization() {
  return {.mean = {0.4914f, 0.4822f, 0.4465f}, .std = {0.2470f, 0.2435f, 0.2616f}};
}

/// Reads 50,000 training images (data_batch_1.bin .. data_batch_5.bin) or 10,000 test images
/// (test_batch.bin) as uint8 [N, 32, 32, 3], with cifar10_normalization().
///
/// `folder` is cifar-10-batches-bin itself or the folder that holds it. A file is 10,000 records of
/// one label byte and three 32x32 planes (R, G, B); records keep the files' order.
/// Throws Error if the folder or a file is missing, a file has another size, or a label exceeds 9.
Dataset load_cifar10(const std::filesystem::path& folder, Split split);

}  // namespace gradus::data
