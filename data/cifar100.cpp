#include <gradus/data/cifar100.h>

#include "data/internal/images.h"
#include "data/internal/records.h"

namespace gradus::data {
namespace {

constexpr RecordFolder official{
    .dataset = "cifar100", .name = "cifar-100-binary", .contents = "train.bin and test.bin"};
/// The second label byte is the fine label.
constexpr RecordFormat format{.label_bytes = 2, .label = 1, .classes = 100, .side = 32};

/// In the order of the fine labels.
const std::vector<std::string> class_names{
    "apple",       "aquarium_fish", "baby",      "bear",       "beaver",       "bed",
    "bee",         "beetle",        "bicycle",   "bottle",     "bowl",         "boy",
    "bridge",      "bus",           "butterfly", "camel",      "can",          "castle",
    "caterpillar", "cattle",        "chair",     "chimpanzee", "clock",        "cloud",
    "cockroach",   "couch",         "crab",      "crocodile",  "cup",          "dinosaur",
    "dolphin",     "elephant",      "flatfish",  "forest",     "fox",          "girl",
    "hamster",     "house",         "kangaroo",  "keyboard",   "lamp",         "lawn_mower",
    "leopard",     "lion",          "lizard",    "lobster",    "man",          "maple_tree",
    "motorcycle",  "mountain",      "mouse",     "mushroom",   "oak_tree",     "orange",
    "orchid",      "otter",         "palm_tree", "pear",       "pickup_truck", "pine_tree",
    "plain",       "plate",         "poppy",     "porcupine",  "possum",       "rabbit",
    "raccoon",     "ray",           "road",      "rocket",     "rose",         "sea",
    "seal",        "shark",         "shrew",     "skunk",      "skyscraper",   "snail",
    "snake",       "spider",        "squirrel",  "streetcar",  "sunflower",    "sweet_pepper",
    "table",       "tank",          "telephone", "television", "tiger",        "tractor",
    "train",       "trout",         "tulip",     "turtle",     "wardrobe",     "whale",
    "willow_tree", "wolf",          "woman",     "worm"};

}  // namespace

Dataset load_cifar100(const std::filesystem::path& folder, Split split) {
  const bool train = split == Split::train;
  const auto file = find_folder(official, folder) / (train ? "train.bin" : "test.bin");
  const std::int64_t count = train ? 50'000 : 10'000;
  check_file(official, file, format, count);
  const Tensor images = empty_images(count, format.side, format.side);
  return {images, read_records(official, file, format, count, images), class_names};
}

}  // namespace gradus::data
