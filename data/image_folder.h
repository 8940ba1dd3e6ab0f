// Folders of PNG and JPEG files as a data set.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <gradus/data/dataset.h>

namespace gradus::data {

/// Which files load_image_folder reads, and to what size.
struct ImageFolderOptions {
  std::int64_t size = 0;         ///< pixels a side, as by resize_square; 0: all have the same size
  std::int64_t limit = 0;        ///< the first so many files; 0: all
  bool skip_unreadable = false;  ///< leave files out that cannot be read, in place of refusing all
};

/// What lies in a folder of images.
struct ImageFolder {
  Dataset dataset;                   ///< without a normalisation
  std::vector<std::string> skipped;  ///< files that were left out, each with the reason
};

/// Reads the images of `folder`/train or `folder`/test: files that end in .png, .jpg or .jpeg, in
/// whatever case; others are left out, hidden ones (.name) without a word. As uint8 [N, S, S, 3],
/// or [N, H, W, 3] without a size.
///
/// The folders in train are the classes, in the order of their names, and every image in one, at
/// any depth and behind links, is of that class; images in no folder have no labels. The order of
/// the images is the first one of each class by path, then the second ones, and so on, so that the
/// first N show all classes.
///
/// Greys, palettes, 16 bits, transparency (over white), CMYK and EXIF's orientation become upright
/// RGB. Files are decoded in parallel.
///
/// Throws Error if a folder is missing, cannot be read or has no images, if it has images in no
/// folder beside folders, if test has a class that train lacks or, where train has classes, images
/// in no folder, if a link leads to a folder around it, if images differ in size and none
/// was asked for, if they take more memory than there is for them, and, with the number of these
/// files and the reason of the first, if files cannot be read: damaged, truncated, empty, no files
/// but pipes, neither PNG nor JPEG, or of more than 100 million pixels or 1 GiB.
ImageFolder load_image_folder(const std::filesystem::path& folder, Split split,
                              const ImageFolderOptions& options = {});

}  // namespace gradus::data
