#include <gradus/tensor/io/pytorch.h>

#include <fstream>

#include "tensor/io/internal/reading.h"
#include "tensor/io/pytorch/pickle.h"

namespace gradus {
namespace {

namespace fs = std::filesystem;
using io::quote;
using io::reject;
using pytorch::Container;
using pytorch::Value;

/// Numbers as tensors take up to 550 times their bytes in the pickle: a gigabyte.
constexpr std::uint64_t max_pickle_bytes = 2'000'000;

/// How files begin: those of torch.save, and those that it made before PyTorch 1.6.
constexpr std::string_view zip_start = "PK\x03\x04";
constexpr std::string_view legacy_start = "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.";

std::string first_bytes(const fs::path& path) {
  std::string start(legacy_start.size(), '\0');
  std::ifstream stream(path, std::ios::binary);
  stream.read(start.data(), static_cast<std::streamsize>(start.size()));
  start.resize(static_cast<std::size_t>(stream.gcount()));
  return start;
}

/// Collects the leaves of nested containers under their dotted names.
class Flattener {
 public:
  explicit Flattener(const fs::path& path, std::uint64_t pickle_bytes)
      : path_(path), bytes_left_((1 << 20) + 8 * pickle_bytes) {}

  void visit(const std::string& name, const Value& value, int depth = 0) {
    // Containers may be shared, or hold themselves: visits are bounded, not what was visited.
    constexpr int deepest = 32;
    if (depth > deepest) reject_repeated(name);
    spend(name, name.size() + 1);
    if (const auto* container = std::get_if<Container*>(&value)) {
      const auto& items = (*container)->items;
      const std::size_t step = (*container)->is_dict ? 2 : 1;
      for (std::size_t i = 0; i + step <= items.size(); i += step) {
        const std::string key = step == 2 ? key_text(name, items[i]) : std::to_string(i);
        visit(depth == 0 ? key : fmt::format("{}.{}", name, key), items[i + step - 1], depth + 1);
      }
    } else {
      add(name, value);
    }
  }

  TensorFile file{};

 private:
  std::string key_text(const std::string& name, const Value& key) const {
    if (const auto* text = std::get_if<std::string_view>(&key)) return std::string(*text);
    if (const auto* number = std::get_if<std::int64_t>(&key)) return std::to_string(*number);
    reject(path_, "a key of the dict {} is neither a string nor an integer", quote(name));
  }

  void add(const std::string& name, const Value& value) {
    if (const auto* text = std::get_if<std::string_view>(&value)) {
      spend(name, text->size());
      if (!file.metadata.emplace(name, *text).second) reject_twice(name);
    } else if (const auto* tensor = std::get_if<const Tensor*>(&value)) {
      add_tensor(name, **tensor);
    } else if (const auto* truth = std::get_if<bool>(&value)) {
      add_tensor(name, full({}, *truth, {DType::uint8}));
    } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
      add_tensor(name, from_vector<std::int64_t>({*integer}, {}));
    } else if (const auto* real = std::get_if<double>(&value)) {
      add_tensor(name, full({}, *real, {DType::float64}));
    } else if (!std::holds_alternative<pytorch::None>(value)) {
      reject(path_, "{} is neither a tensor nor plain data", quote(name));
    }
  }

  void add_tensor(const std::string& name, const Tensor& tensor) {
    if (!file.tensors.emplace(name, tensor).second) reject_twice(name);
  }

  /// Takes bytes of those that names and texts may have.
  void spend(const std::string& name, std::uint64_t bytes) {
    if (bytes > bytes_left_) reject_repeated(name);
    bytes_left_ -= bytes;
  }

  [[noreturn]] void reject_repeated(const std::string& name) const {
    reject(path_, "{} is nested too deeply, or repeated too often", quote(name));
  }

  [[noreturn]] void reject_twice(const std::string& name) const {
    reject(path_, "the name {} is there twice", quote(name));
  }

  fs::path path_;
  std::uint64_t bytes_left_;
};

}  // namespace

TensorFile read_pytorch(const fs::path& path) {
  io::readable_size(path);
  const std::string start = first_bytes(path);
  if (start == legacy_start) {
    reject(path,
           "the format of PyTorch before 1.6; in a newer one convert it: "
           "torch.save(torch.load(FILE), FILE)");
  }
  if (!start.starts_with(zip_start)) reject(path, "not a file of torch.save, which is a ZIP file");
  const pytorch::Archive archive(path);
  pytorch::Storages storages(archive);
  const std::string pickle = archive.read_text("data.pkl", max_pickle_bytes);
  pytorch::Unpickler unpickler(archive, storages, pickle);
  const Value root = unpickler.run();
  if (!std::holds_alternative<Container*>(root))
    reject(path, "it holds neither a dict nor a list of tensors");
  Flattener flattener(path, pickle.size());
  flattener.visit("", root);
  return std::move(flattener.file);
}

TensorFile read_tensors(const fs::path& path) {
  io::readable_size(path);
  const std::string start = first_bytes(path);
  return start.starts_with(zip_start) || start == legacy_start ? read_pytorch(path)
                                                               : read_safetensors(path);
}

}  // namespace gradus
