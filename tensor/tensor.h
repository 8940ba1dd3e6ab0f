// Tensor: a contiguous n-dimensional array; a value-semantic handle on shared storage.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gradus/tensor/device.h>
#include <gradus/tensor/dtype.h>
#include <gradus/tensor/shape.h>
#include <gradus/tensor/storage.h>

namespace gradus {

/// A handle on memory: copying one shares the elements, `clone` copies them. Always contiguous,
/// row-major. Views (`reshape`, `slice`) share storage and cover a contiguous piece of it.
/// A default-constructed tensor is undefined: it has no storage and no shape.
class Tensor {
 public:
  Tensor() = default;
  /// Uninitialised memory: what empty() gives. Throws Error if there is not that much.
  Tensor(const Shape& shape, DType dtype, Device device);

  /// Whether it has been given a value.
  bool defined() const { return storage_ != nullptr; }

  const Shape& shape() const { return shape_; }
  /// Number of axes.
  int rank() const { return shape_.rank(); }
  /// Size of an axis; negative axes count from the end.
  std::int64_t size(int axis) const { return shape_[axis]; }
  /// Number of elements.
  std::int64_t numel() const { return numel_; }
  /// Bytes of all elements.
  std::size_t bytes() const { return static_cast<std::size_t>(numel_) * item_size(dtype_); }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }

  /// Address of the first element, on the device; throws Error unless T is the element type. Taking
  /// one to write through counts as a change (version): to read, take it from a const tensor.
  template <class T>
  T* data() {
    require_dtype(dtype_of<T>);
    return static_cast<T*>(raw());
  }
  template <class T>
  const T* data() const {
    require_dtype(dtype_of<T>);
    return static_cast<const T*>(raw());
  }
  /// The same without a type; null for an undefined tensor.
  void* raw();
  const void* raw() const;

  /// A view with another shape of as many elements; one size may be -1 and is inferred.
  Tensor reshape(std::initializer_list<std::int64_t> sizes) const;
  Tensor reshape(const Shape& shape) const;
  /// A view of rows [begin, end) of the leading axis, which must have them.
  Tensor slice(std::int64_t begin, std::int64_t end) const;

  /// A copy in fresh storage.
  Tensor clone() const;
  /// The elements converted to another type as by static_cast (integers of numbers that they cannot
  /// hold may be anything), or this tensor if it already has it.
  Tensor to(DType dtype) const;
  /// A copy on another device, or this tensor if it already lies there.
  Tensor to(Device device) const;
  /// Overwrites the elements with those of `source`: same shape and dtype, any device.
  void copy_from(const Tensor& source);
  /// Sets every element to `value`, converted to the tensor's type as to() does.
  void fill(double value);

  /// The element of a tensor that has but one, copied to the host; T must be the element type.
  /// Throws Error otherwise.
  template <class T>
  T item() const;
  /// All elements, row-major, copied to the host; T must be the element type.
  template <class T>
  std::vector<T> to_vector() const;

  /// Whether this is the only handle on its storage (then it may be overwritten in place).
  bool unique() const { return storage_.use_count() == 1; }
  /// How often the elements may have been changed since their memory was allocated: by fill,
  /// copy_from, the ops that work in place, or a pointer that could write. Views share the count.
  std::uint64_t version() const { return storage_ ? storage_->version() : 0; }
  /// Whether two tensors share storage.
  bool shares_storage(const Tensor& other) const { return storage_ == other.storage_; }
  /// The storage, to know it by while its tensors come and go.
  std::weak_ptr<const Storage> storage() const { return storage_; }

 private:
  void require_dtype(DType dtype) const;

  std::shared_ptr<Storage> storage_;
  Shape shape_;
  std::int64_t numel_ = 0;
  std::int64_t byte_offset_ = 0;
  DType dtype_ = DType::float32;
  Device device_ = Device::cpu;
};

/// Element type and device of a new tensor.
struct TensorOptions {
  DType dtype = DType::float32;
  Device device = Device::cpu;
};

/// The options of an existing tensor, to make another like it.
inline TensorOptions options_of(const Tensor& x) { return {x.dtype(), x.device()}; }

/// A tensor whose elements have no values yet.
Tensor empty(const Shape& shape, TensorOptions options = {});
/// A tensor whose elements are all 0.
Tensor zeros(const Shape& shape, TensorOptions options = {});
/// A tensor whose elements are all 1.
Tensor ones(const Shape& shape, TensorOptions options = {});
/// A tensor whose elements are all `value`, converted to its type.
Tensor full(const Shape& shape, double value, TensorOptions options = {});
/// [begin, begin + 1, ..., end - 1] of shape [end - begin]; begin <= end.
Tensor arange(std::int64_t begin, std::int64_t end, TensorOptions options = {DType::int64});

/// A tensor on the CPU with copies of the given elements, row-major; their count must fit the
/// shape. T is one of the five element types (DType).
template <class T>
Tensor from_span(std::span<const T> values, const Shape& shape);
template <class T>
Tensor from_vector(const std::vector<T>& values, const Shape& shape) {
  return from_span(std::span<const T>(values), shape);
}

/// The elements as nested lists, then type, shape and device:
///   [[1, 2.5],
///    [3,   4]] float32 [2, 2] on cpu
/// Floating-point numbers have six digits. Of more than 1,000 elements, only the first and the last
/// three along each axis are shown, and copied from the device.
std::string to_string(const Tensor& x);

}  // namespace gradus

/// fmt::print("{}", x): what to_string gives.
template <>
struct fmt::formatter<gradus::Tensor> : fmt::formatter<std::string_view> {
  template <class Context>
  auto format(const gradus::Tensor& x, Context& context) const {
    return fmt::formatter<std::string_view>::format(gradus::to_string(x), context);
  }
};
