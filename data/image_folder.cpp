#include <gradus/data/image_folder.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <tuple>

#include <gradus/data/resize.h>
#include <gradus/tensor/check.h>
#include <gradus/tensor/io/file.h>
#include "data/internal/decode_image.h"
#include "data/internal/images.h"
#include "tensor/cpu/parallel.h"

namespace gradus::data {
namespace {

namespace fs = std::filesystem;

/// A file, and where it stands in the order of all.
struct ImageFile {
  std::size_t rank;    // among those of its class
  std::int64_t label;  // 0 without classes
  fs::path path;
};

bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

bool has_image_name(const fs::path& path) {
  std::string ending = path.extension().string();
  for (char& c : ending)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return ending == ".png" || ending == ".jpg" || ending == ".jpeg";
}

/// Whether `entry` is a folder, be it by a link.
bool is_folder(const fs::directory_entry& entry) {
  std::error_code ignored;
  return entry.is_directory(ignored);
}

/// Calls function(entry) for what is not hidden in the folder, in no order.
template <class Function>
void visit(const fs::path& folder, const Function& function) {
  std::error_code error;
  for (fs::directory_iterator at(folder, error); !error && at != fs::directory_iterator();
       at.increment(error))
    if (!is_hidden(at->path())) function(*at);
  check(!error, "images", "cannot read folder {}: {}", folder.string(), error.message());
}

/// The names of the folders in `folder`, in order.
std::vector<std::string> folder_names(const fs::path& folder) {
  std::vector<std::string> names;
  visit(folder, [&](const fs::directory_entry& entry) {
    if (is_folder(entry)) names.push_back(entry.path().filename().string());
  });
  std::sort(names.begin(), names.end());
  return names;
}

/// Adds the files in the folder, at any depth, to `paths`. `around` are the folders that it lies
/// in, without links: a link to one of them would be followed for ever. `link` is the last one on
/// the way to the folder.
void find_files(const fs::path& folder, fs::path link, std::vector<fs::path>& around,
                std::vector<fs::path>& paths) {
  std::error_code error;
  if (fs::is_symlink(folder, error)) link = folder;
  fs::path real = fs::canonical(folder, error);
  check(!error, "images", "cannot read folder {}: {}", folder.string(), error.message());
  check(std::find(around.begin(), around.end(), real) == around.end(), "images",
        "{} is a link to a folder that it lies in; remove it", link.string());
  around.push_back(std::move(real));
  visit(folder, [&](const fs::directory_entry& entry) {
    if (is_folder(entry))
      find_files(entry.path(), link, around, paths);
    else
      paths.push_back(entry.path());
  });
  around.pop_back();
}

/// Sorts the image files into `files`, and tells of all others in `skipped`.
void add_files(std::vector<fs::path> paths, std::int64_t label, std::vector<ImageFile>& files,
               std::vector<std::string>& skipped) {
  std::sort(paths.begin(), paths.end(),
            [](const fs::path& a, const fs::path& b) { return a.native() < b.native(); });
  std::size_t rank = 0;
  for (fs::path& path : paths) {
    if (has_image_name(path))
      files.push_back({rank++, label, std::move(path)});
    else
      skipped.push_back(path.string() + ": its name does not end in .png, .jpg or .jpeg");
  }
}

/// The classes of a folder: the folders in its train.
std::vector<std::string> find_classes(const fs::path& folder) {
  std::error_code ignored;
  const fs::path train = folder / name(Split::train);
  check(fs::is_directory(train, ignored), "images",
        "there is no folder {}: it should hold the images to train on, each in a folder named "
        "after its class, or all in none",
        train.string());
  return folder_names(train);
}

/// The files of train or test, in the data set's order.
std::vector<ImageFile> list_files(const fs::path& part, const std::vector<std::string>& classes,
                                  std::vector<std::string>& skipped) {
  std::error_code ignored;
  check(fs::is_directory(part, ignored), "images", "there is no folder {}", part.string());
  std::vector<ImageFile> files;
  std::vector<fs::path> in_no_folder;
  visit(part, [&](const fs::directory_entry& entry) {
    if (!is_folder(entry)) in_no_folder.push_back(entry.path());
  });
  add_files(std::move(in_no_folder), 0, files, skipped);
  const std::vector<std::string> folders = folder_names(part);
  check(files.empty() || folders.empty(), "images",
        "{} has images in no folder ({}) beside folders ({}): put each image into a folder named "
        "after its class, or leave no folders",
        part.string(), files.empty() ? "" : files.front().path.string(),
        folders.empty() ? "" : folders.front());
  // They would all count as the first class.
  check(files.empty() || classes.empty(), "images",
        "{} is in no folder, but the images to train on have classes; put each into a folder named "
        "after its class",
        files.empty() ? "" : files.front().path.string());
  for (const std::string& folder : folders) {
    const auto found = std::find(classes.begin(), classes.end(), folder);
    check(found != classes.end() || classes.empty(), "images",
          "{} is a class that no folder to train on has; rename or remove it",
          (part / folder).string());
    std::error_code error;
    std::vector<fs::path> paths, around{fs::canonical(part, error)};
    check(!error, "images", "cannot look into {}: {}", part.string(), error.message());
    find_files(part / folder, {}, around, paths);
    const std::size_t before = files.size();
    add_files(std::move(paths), std::distance(classes.begin(), found), files, skipped);
    check(files.size() > before, "images", "the folder {} has no .png, .jpg or .jpeg in it",
          (part / folder).string());
  }
  check(!files.empty(), "images", "the folder {} has no .png, .jpg or .jpeg in it", part.string());
  std::sort(files.begin(), files.end(), [](const ImageFile& a, const ImageFile& b) {
    return std::tie(a.rank, a.label, a.path.native()) < std::tie(b.rank, b.label, b.path.native());
  });
  return files;
}

/// The image in a file, [1, H, W, 3], resized if a size is asked for.
Tensor read_image(const fs::path& path, std::int64_t size) {
  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  if (fs::exists(status) && !fs::is_regular_file(status))  // a pipe could be waited for, for ever
    throw ImageError("it is not a regular file");
  constexpr std::uintmax_t most = std::uintmax_t{1} << 30;
  const std::uintmax_t size_of_file = fs::file_size(path, ignored);
  if (!ignored && size_of_file > most)
    throw ImageError(fmt::format("it has {}, and an image of 100 million pixels has {} at most",
                                 format_bytes(size_of_file), format_bytes(most)));
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw ImageError(fmt::format("it cannot be opened: {}", std::strerror(errno)));
  const std::vector<char> bytes{std::istreambuf_iterator<char>(stream), {}};
  Tensor image = decode_image({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
  image = image.reshape({1, image.size(0), image.size(1), 3});
  return size > 0 ? resize_square(image, size) : image;
}

/// What became of the files: images [N, H, W, 3], and for each why there is none, or "".
struct Decoded {
  Tensor images;
  std::vector<std::string> problems;
};

/// Reads all files, in parallel.
Decoded read_images(const std::vector<ImageFile>& files, std::int64_t size) {
  const auto count = static_cast<std::int64_t>(files.size());
  Decoded decoded{{}, std::vector<std::string>(files.size())};
  Shape shape{1, size, size, 3};
  const ImageFile* model = nullptr;  // which decides the size, where none was asked for
  for (std::size_t i = 0; size == 0 && model == nullptr && i < files.size(); ++i) {
    try {
      shape = read_image(files[i].path, size).shape();
      model = &files[i];
    } catch (const ImageError&) {  // it is told below
    }
  }
  decoded.images = empty_images(count, shape[1], shape[2]);
  const std::int64_t bytes = shape.numel();
  auto* pixels = decoded.images.data<std::uint8_t>();
  cpu::parallel_tasks(count, [&](std::int64_t i) {
    const fs::path& path = files[static_cast<std::size_t>(i)].path;
    Tensor image;
    try {
      image = read_image(path, size);
    } catch (const ImageError& error) {
      decoded.problems[static_cast<std::size_t>(i)] = error.message();
      return;
    }
    check(image.shape() == shape, "images",
          "the images differ in size: {} has {}x{} pixels, {} has {}x{}; name one size for all",
          model ? model->path.string() : "", shape[2], shape[1], path.string(), image.size(2),
          image.size(1));
    std::memcpy(pixels + i * bytes, image.data<std::uint8_t>(), static_cast<std::size_t>(bytes));
  });
  return decoded;
}

/// Leaves the files out that have a problem: moves the others' images up.
void leave_out_unreadable(Decoded& decoded, std::vector<ImageFile>& files,
                          std::vector<std::string>& skipped) {
  std::int64_t kept = 0;
  std::vector<ImageFile> kept_files;
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (!decoded.problems[i].empty()) {
      skipped.push_back(files[i].path.string() + ": " + decoded.problems[i]);
      continue;
    }
    const auto from = static_cast<std::int64_t>(i);
    if (kept != from)
      decoded.images.slice(kept, kept + 1).copy_from(decoded.images.slice(from, from + 1));
    kept_files.push_back(std::move(files[i]));
    ++kept;
  }
  files = std::move(kept_files);
  decoded.images = decoded.images.slice(0, kept);
}

}  // namespace

ImageFolder load_image_folder(const fs::path& folder, Split split,
                              const ImageFolderOptions& options) {
  ImageFolder result;
  result.dataset.class_names = find_classes(folder);
  const bool labelled = !result.dataset.class_names.empty();
  const fs::path part = folder / name(split);
  std::vector<ImageFile> files = list_files(part, result.dataset.class_names, result.skipped);
  if (options.limit > 0 && static_cast<std::size_t>(options.limit) < files.size())
    files.resize(static_cast<std::size_t>(options.limit));
  const std::size_t listed = files.size();

  Decoded decoded = read_images(files, options.size);
  const auto first = std::find_if(decoded.problems.begin(), decoded.problems.end(),
                                  [](const std::string& problem) { return !problem.empty(); });
  if (first != decoded.problems.end()) {
    const auto unreadable = listed - static_cast<std::size_t>(std::count(
                                         decoded.problems.begin(), decoded.problems.end(), ""));
    check(options.skip_unreadable && unreadable < listed, "images",
          "{} of {} images in {} cannot be read, first {}: {}; mend or remove them{}", unreadable,
          listed, part.string(),
          files[static_cast<std::size_t>(first - decoded.problems.begin())].path.string(), *first,
          unreadable < listed ? ", or skip unreadable ones" : "");
    leave_out_unreadable(decoded, files, result.skipped);
  }
  result.dataset.images = decoded.images;
  if (labelled) {
    result.dataset.labels = empty({result.dataset.size()}, {DType::int64});
    for (std::size_t i = 0; i < files.size(); ++i)
      result.dataset.labels.data<std::int64_t>()[i] = files[i].label;
  }
  return result;
}

}  // namespace gradus::data
