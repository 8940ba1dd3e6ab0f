#include <gradus/tensor/io/safetensors.h>

#include <zlib.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include <gradus/tensor/check.h>
#include <gradus/tensor/io/file.h>
#include "tensor/io/internal/reading.h"

namespace gradus {
namespace {

namespace fs = std::filesystem;
using io::quote;
using io::readable_size;
using io::reject;
using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

constexpr const char* metadata_key = "__metadata__";
constexpr const char* checksum_key = "gradus.crc32";
constexpr std::uint64_t max_header_bytes = 100'000'000;
constexpr std::size_t length_bytes = sizeof(std::uint64_t);

struct DTypeName {
  DType dtype;
  const char* name;
};
constexpr DTypeName dtype_names[] = {{DType::float32, "F32"},
                                     {DType::float64, "F64"},
                                     {DType::bfloat16, "BF16"},
                                     {DType::uint8, "U8"},
                                     {DType::int64, "I64"}};

/// Where a tensor's elements lie: bytes [begin, end) after the header.
struct Entry {
  std::string name;
  DType dtype;
  Shape shape;
  std::uint64_t begin;
  std::uint64_t end;
};

/// Cyclic redundancy check of the header without its checksum, then of the elements.
class Checksum {
 public:
  explicit Checksum(const json& header) {
    const std::string text = header.dump();
    update(text.data(), text.size());
  }
  void update(const void* data, std::size_t bytes) {
    value_ = crc32_z(value_, static_cast<const Bytef*>(data), bytes);
  }
  std::string text() const { return fmt::format("{:08x}", value_); }

 private:
  uLong value_ = crc32_z(0, nullptr, 0);
};

// ---- Reading ----

std::string read_header_text(const fs::path& path, std::ifstream& stream,
                             std::uint64_t file_bytes) {
  if (file_bytes == 0) reject(path, "the file is empty");
  if (file_bytes < length_bytes) {
    reject(path, "truncated: {} are too few for a safetensors file", format_bytes(file_bytes));
  }
  std::uint64_t length = 0;
  stream.read(reinterpret_cast<char*>(&length), length_bytes);
  if (!stream) reject(path, "reading failed");
  if (length > max_header_bytes) {
    reject(path, "a header of {} bytes is over the limit of {}: not a safetensors file, or corrupt",
           length, format_bytes(max_header_bytes));
  }
  if (length > file_bytes - length_bytes) {
    reject(path, "truncated: the header needs {}, {} are there", format_bytes(length),
           format_bytes(file_bytes - length_bytes));
  }
  std::string text(length, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(length));
  if (!stream) reject(path, "reading failed");
  return text;
}

/// Parses the header; refuses what JSON allows but the format does not: duplicate keys, deep
/// nesting.
json parse_header(const fs::path& path, const std::string& text) {
  constexpr int deepest = 2;  // header, entry, array
  std::vector<std::set<std::string>> keys;
  const auto inspect = [&](int depth, json::parse_event_t event, json& value) {
    using Event = json::parse_event_t;
    if ((event == Event::object_start || event == Event::array_start) && depth > deepest) {
      reject(path, "the header is nested too deeply");
    }
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(value.get<std::string>()).second) {
      reject(path, "the header has the key {} twice", quote(value.get<std::string>()));
    }
    return true;
  };
  // The JSON library takes a zero byte for the end of the text.
  const std::size_t zero = text.find('\0');
  if (zero != text.npos) reject(path, "the header is not valid JSON (at byte {})", zero + 1);
  json header;
  try {
    header = json::parse(text, inspect);
  } catch (const json::parse_error& error) {
    reject(path, "the header is not valid JSON (at byte {})", error.byte);
  } catch (const json::exception&) {
    reject(path, "the header is not valid JSON (a number is out of range)");
  }
  if (!header.is_object()) reject(path, "the header is not a JSON object");
  return header;
}

std::map<std::string, std::string> parse_metadata(const fs::path& path, const json& metadata) {
  if (!metadata.is_object()) reject(path, "{} is not a JSON object", metadata_key);
  std::map<std::string, std::string> result;
  for (const auto& [name, value] : metadata.items()) {
    if (!value.is_string()) reject(path, "{} {} is not a string", metadata_key, quote(name));
    result.emplace(name, value.get<std::string>());
  }
  return result;
}

DType parse_dtype(const fs::path& path, const std::string& name, const json& entry) {
  const auto dtype = entry.find("dtype");
  if (dtype == entry.end() || !dtype->is_string()) {
    reject(path, "tensor {} has no dtype string", quote(name));
  }
  for (const DTypeName& known : dtype_names) {
    if (*dtype == known.name) return known.dtype;
  }
  reject(path, "tensor {} has the dtype {}; supported are F32, F64, BF16, U8 and I64", quote(name),
         quote(dtype->get<std::string>()));
}

/// The array of non-negative integers at `key`.
std::vector<std::uint64_t> parse_integers(const fs::path& path, const std::string& name,
                                          const json& entry, const char* key) {
  const auto array = entry.find(key);
  if (array == entry.end() || !array->is_array()) {
    reject(path, "tensor {} has no {} array", quote(name), key);
  }
  std::vector<std::uint64_t> values;
  for (const json& value : *array) {
    if (!value.is_number_unsigned()) {
      reject(path, "tensor {}: {} is not made of non-negative integers", quote(name), key);
    }
    values.push_back(value.get<std::uint64_t>());
  }
  return values;
}

Entry parse_entry(const fs::path& path, const std::string& name, const json& entry) {
  if (!entry.is_object()) reject(path, "tensor {} is not a JSON object", quote(name));
  const DType dtype = parse_dtype(path, name, entry);
  const auto sizes = parse_integers(path, name, entry, "shape");
  const auto offsets = parse_integers(path, name, entry, "data_offsets");
  if (sizes.size() > Shape::max_rank) {
    reject(path, "tensor {} has {} axes; at most {} are supported", quote(name), sizes.size(),
           Shape::max_rank);
  }
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    reject(path, "tensor {}: data_offsets is not a pair [begin, end]", quote(name));
  }
  Shape shape;
  std::int64_t bytes = static_cast<std::int64_t>(item_size(dtype)), nonzero = 1;
  bool overflows = false;
  for (const std::uint64_t size : sizes) {
    overflows = overflows || size > std::numeric_limits<std::int64_t>::max();
    if (!overflows && size != 0)  // nor may the sizes beside a 0 (Shape)
      overflows = __builtin_mul_overflow(nonzero, static_cast<std::int64_t>(size), &nonzero);
    if (overflows) reject(path, "tensor {}: the shape's size overflows", quote(name));
    shape.push_back(static_cast<std::int64_t>(size));
  }
  if (__builtin_mul_overflow(bytes, shape.numel(), &bytes))
    reject(path, "tensor {}: the shape's size overflows", quote(name));
  if (static_cast<std::uint64_t>(bytes) != offsets[1] - offsets[0]) {
    reject(path, "tensor {} of shape {} and dtype {} needs {} bytes, data_offsets give {}",
           quote(name), shape, gradus::name(dtype), bytes, offsets[1] - offsets[0]);
  }
  return {name, dtype, shape, offsets[0], offsets[1]};
}

/// Sorts the entries by position and checks that they fill the data without overlap or hole.
void check_layout(const fs::path& path, std::vector<Entry>& entries, std::uint64_t data_bytes) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t position = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != position) {
      reject(path,
             "tensor {} begins at byte {} of the data, {} byte {} where the one before it ends",
             quote(entry.name), entry.begin, entry.begin < position ? "before" : "after", position);
    }
    position = entry.end;
  }
  if (position > data_bytes) {
    reject(path, "truncated: the data needs {} bytes, {} are there", position, data_bytes);
  }
  if (position < data_bytes) {
    reject(path, "{} bytes at the end belong to no tensor", data_bytes - position);
  }
}

// ---- Writing ----

/// Lays the tensors out, larger element types first, then by name.
std::vector<Entry> lay_out(const TensorFile& file) {
  std::vector<Entry> entries;
  for (const auto& [name, tensor] : file.tensors) {
    check(tensor.defined(), "save", "tensor {} is undefined", quote(name));
    check(name != metadata_key, "save", "a tensor cannot be named {}", metadata_key);
    entries.push_back({name, tensor.dtype(), tensor.shape(), 0, tensor.bytes()});
  }
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return item_size(a.dtype) > item_size(b.dtype);
  });
  std::uint64_t position = 0;
  for (Entry& entry : entries) {
    entry.begin = position;
    entry.end = position += entry.end;
  }
  return entries;
}

json make_header(const std::vector<Entry>& entries, const TensorFile& file) {
  json header = json::object();
  for (const Entry& entry : entries) {
    const auto* known = std::find_if(std::begin(dtype_names), std::end(dtype_names),
                                     [&](const DTypeName& n) { return n.dtype == entry.dtype; });
    header[entry.name] = {{"dtype", known->name},
                          {"shape", std::vector(entry.shape.begin(), entry.shape.end())},
                          {"data_offsets", {entry.begin, entry.end}}};
  }
  check(!file.metadata.contains(checksum_key), "save", "the metadata key {} is reserved",
        checksum_key);
  header[metadata_key] = file.metadata;
  return header;
}

}  // namespace

TensorFile read_safetensors(const fs::path& path) {
  const std::uint64_t file_bytes = readable_size(path);
  std::ifstream stream(path, std::ios::binary);
  const std::string text = read_header_text(path, stream, file_bytes);
  json header = parse_header(path, text);
  TensorFile file;
  std::optional<std::string> expected;
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == metadata_key) {
      file.metadata = parse_metadata(path, value);
    } else {
      entries.push_back(parse_entry(path, name, value));
    }
  }
  check_layout(path, entries, file_bytes - length_bytes - text.size());
  if (const auto found = file.metadata.extract(checksum_key)) {
    expected = found.mapped();
    header[metadata_key].erase(checksum_key);
  }

  Checksum checksum(header);
  for (const Entry& entry : entries) {
    Tensor tensor = empty(entry.shape, {.dtype = entry.dtype});
    if (tensor.bytes() > 0) {
      stream.read(static_cast<char*>(tensor.raw()), static_cast<std::streamsize>(tensor.bytes()));
      if (!stream) reject(path, "tensor {}: reading failed", quote(entry.name));
      if (expected) checksum.update(tensor.raw(), tensor.bytes());
    }
    file.tensors.emplace(entry.name, std::move(tensor));
  }
  if (expected && *expected != checksum.text()) {
    reject(path,
           "checksum mismatch: the file is corrupt; use another copy or an earlier checkpoint");
  }
  return file;
}

void write_safetensors(const fs::path& path, const TensorFile& file) {
  const std::vector<Entry> entries = lay_out(file);
  std::vector<Tensor> tensors;  // on the CPU, in the file's order
  for (const Entry& entry : entries) tensors.push_back(file.tensors.at(entry.name).to(Device::cpu));

  std::string text;
  try {
    json header = make_header(entries, file);
    Checksum checksum(header);
    for (const Tensor& tensor : tensors) {
      if (tensor.bytes() > 0) checksum.update(tensor.raw(), tensor.bytes());
    }
    header[metadata_key][checksum_key] = checksum.text();
    text = header.dump();
  } catch (const json::exception&) {
    fail("save", "cannot write {}: a name or a metadata string is not valid UTF-8", path.string());
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  check(text.size() <= max_header_bytes, "save", "cannot write {}: the header needs {}, over {}",
        path.string(), format_bytes(text.size()), format_bytes(max_header_bytes));

  const std::uint64_t length = text.size();
  const std::uint64_t data_bytes = entries.empty() ? 0 : entries.back().end;
  write_file_atomically(
      path,
      [&](FileWriter& out) {
        out.write(&length, length_bytes);
        out.write(text);
        for (const Tensor& tensor : tensors) {
          if (tensor.bytes() > 0) out.write(tensor.raw(), tensor.bytes());
        }
      },
      length_bytes + length + data_bytes);
}

}  // namespace gradus
