#include "tensor/io/pytorch/storage.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include <gradus/tensor/io/file.h>
#include "tensor/io/internal/reading.h"

namespace gradus::pytorch {

using io::quote;
using io::reject;

static_assert(std::endian::native == std::endian::little, "the elements are little-endian");

struct StorageType {
  std::string_view class_name;
  DType dtype;
  std::size_t item_bytes;  ///< in the file
  /// Converts that many elements; null where the file's are ours.
  void (*convert)(const char* from, Tensor& to) = nullptr;
};

namespace {

/// A number of IEEE 754's binary16: sign, 5 bits of exponent, 10 of mantissa.
float from_float16(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  float magnitude = std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  if (exponent == 0) magnitude = std::ldexp(static_cast<float>(mantissa), -24);
  if (exponent == 31) {
    magnitude = mantissa == 0 ? std::numeric_limits<float>::infinity()
                              : std::numeric_limits<float>::quiet_NaN();
  }
  return std::copysign(magnitude, bits & 0x8000 ? -1.0f : 1.0f);
}

template <class From, class To, To (*convert)(From)>
void convert_all(const char* from, Tensor& to) {
  To* next = to.data<To>();
  for (std::int64_t i = 0; i < to.numel(); ++i, from += sizeof(From)) {
    From value;
    std::memcpy(&value, from, sizeof(From));
    next[i] = convert(value);
  }
}

template <class From>
std::int64_t widen(From value) {
  return value;
}

template <class From>
constexpr auto widen_all = convert_all<From, std::int64_t, widen<From>>;

const StorageType storage_types[] = {
    {"torch.FloatStorage", DType::float32, 4},
    {"torch.DoubleStorage", DType::float64, 8},
    {"torch.BFloat16Storage", DType::bfloat16, 2},
    {"torch.LongStorage", DType::int64, 8},
    {"torch.ByteStorage", DType::uint8, 1},
    {"torch.BoolStorage", DType::uint8, 1},
    {"torch.HalfStorage", DType::float32, 2, convert_all<std::uint16_t, float, from_float16>},
    {"torch.IntStorage", DType::int64, 4, widen_all<std::int32_t>},
    {"torch.ShortStorage", DType::int64, 2, widen_all<std::int16_t>},
    {"torch.CharStorage", DType::int64, 1, widen_all<std::int8_t>},
};

/// Copies the elements of a view, row-major, to `to`: `item` bytes each.
void copy_strided(const char* from, const View& view, char* to, std::size_t item) {
  const auto rank = static_cast<int>(view.sizes.size());
  std::vector<std::int64_t> index(view.sizes.size(), 0);
  std::int64_t position = view.offset;
  while (true) {
    std::memcpy(to, from + static_cast<std::size_t>(position) * item, item);
    to += item;
    int axis = rank - 1;
    for (; axis >= 0; --axis) {
      if (view.sizes[axis] == 1) continue;  // whose stride may be anything
      position += view.strides[axis];
      if (++index[axis] < view.sizes[axis]) break;
      position -= view.sizes[axis] * view.strides[axis];
      index[axis] = 0;
    }
    if (axis < 0) return;
  }
}

}  // namespace

const StorageType* storage_type(std::string_view class_name) {
  for (const StorageType& type : storage_types)
    if (type.class_name == class_name) return &type;
  return nullptr;
}

Storages::Storages(const Archive& archive) : archive_(archive) {
  constexpr std::uint64_t least = 1 << 20, times_the_file = 8;
  bytes_to_copy_ = least + times_the_file * io::readable_size(archive.path());
  const std::string byte_order = "byteorder";
  if (archive.contains(byte_order) && archive.read_text(byte_order, 16) != "little")
    reject(archive.path(), "entry byteorder: its numbers are not little-endian");
}

const Tensor& Storages::load(std::string_view key, const StorageType& type, std::int64_t count) {
  if (const auto found = loaded_.find(key); found != loaded_.end()) {
    if (found->second.dtype() != type.dtype || found->second.numel() != count)
      reject(archive_.path(), "storage {} is used as two kinds of storage", quote(key));
    return found->second;
  }
  const std::string name = fmt::format("data/{}", key);
  const std::uint64_t bytes = archive_.size(name);
  if (count < 0 || bytes % type.item_bytes != 0 ||
      static_cast<std::uint64_t>(count) != bytes / type.item_bytes) {
    reject(archive_.path(), "entry {} has {}, too few or too many for {} elements of a {}",
           quote(name), format_bytes(bytes), count, type.class_name);
  }
  Tensor elements = empty({count}, {.dtype = type.dtype});
  if (type.convert) {
    const std::string text = archive_.read_text(name, bytes);
    type.convert(text.data(), elements);
  } else if (count > 0) {
    archive_.read(name, elements.raw());
  }
  return loaded_.emplace(key, std::move(elements)).first->second;
}

Tensor Storages::view(const Tensor& storage, const View& view) {
  const auto& path = archive_.path();
  if (view.sizes.size() != view.strides.size() || view.sizes.size() > Shape::max_rank)
    reject(path, "a tensor has {} sizes and {} strides; at most {} axes are supported",
           view.sizes.size(), view.strides.size(), Shape::max_rank);
  std::int64_t count = 1, last = view.offset, span = 0;
  bool is_contiguous = true, overflows = view.offset < 0, is_empty = false;
  for (std::size_t axis = view.sizes.size(); axis-- > 0;) {
    const std::int64_t size = view.sizes[axis], stride = view.strides[axis];
    overflows = overflows || size < 0 || stride < 0;
    is_empty = is_empty || size == 0;
    is_contiguous = is_contiguous && (size == 1 || stride == count);
    overflows = overflows ||
                __builtin_mul_overflow(count, std::max<std::int64_t>(size, 1), &count) ||
                __builtin_mul_overflow(std::max<std::int64_t>(size - 1, 0), stride, &span) ||
                __builtin_add_overflow(last, span, &last);
  }
  const std::int64_t most =
      std::numeric_limits<std::int64_t>::max() / static_cast<std::int64_t>(sizeof(double));
  if (overflows || count > most || (!is_empty && last >= storage.numel())) {
    reject(path,
           "a tensor of sizes [{}], strides [{}] and offset {} is not within its storage of {} "
           "elements",
           fmt::join(view.sizes, ", "), fmt::join(view.strides, ", "), view.offset,
           storage.numel());
  }
  const Shape shape(std::span<const std::int64_t>(view.sizes));
  if (is_empty) return empty(shape, {.dtype = storage.dtype()});
  if (is_contiguous) return storage.slice(view.offset, view.offset + count).reshape(shape);
  const std::uint64_t bytes = static_cast<std::uint64_t>(count) * item_size(storage.dtype());
  if (bytes > bytes_to_copy_) {
    reject(path,
           "its tensors need {} more than a file of its size justifies: are some expanded? "
           "save those with .contiguous()",
           format_bytes(bytes - bytes_to_copy_));
  }
  bytes_to_copy_ -= bytes;
  Tensor result = empty(shape, {.dtype = storage.dtype()});
  copy_strided(static_cast<const char*>(storage.raw()), view, static_cast<char*>(result.raw()),
               item_size(storage.dtype()));
  return result;
}

}  // namespace gradus::pytorch
