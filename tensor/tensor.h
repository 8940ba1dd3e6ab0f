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
  /// Uninitialised memory; use the factories below.
  Tensor(const Shape& shape, DType dtype, Device device);

  bool defined() const { return storage_ != nullptr; }
  explicit operator bool() const { return defined(); }

  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  std::int64_t size(int axis) const { return shape_[axis]; }
  std::int64_t numel() const { return numel_; }
  std::size_t bytes() const { return static_cast<std::size_t>(numel_) * item_size(dtype_); }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }

  /// Pointer to the first element; throws unless T is the tensor's element type. One that elements
  /// can be changed through counts as a change of them (version): read through a const tensor.
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
  void* raw();
  const void* raw() const;

  /// A view with another shape of equal size; one size may be -1 and is inferred.
  Tensor reshape(std::initializer_list<std::int64_t> sizes) const;
  Tensor reshape(const Shape& shape) const;
  /// A view of rows [begin, end) of the leading axis.
  Tensor slice(std::int64_t begin, std::int64_t end) const;

  /// A copy in fresh storage.
  Tensor clone() const;
  /// The elements converted to another type (a copy), or this tensor if it already has it.
  Tensor to(DType dtype) const;
  /// A copy on another device, or this tensor if it already lies there.
  Tensor to(Device device) const;
  /// Overwrites the elements with those of `source`: same shape and dtype, any device.
  void copy_from(const Tensor& source);
  /// Sets every element to `value`, converted to the tensor's type.
  void fill(double value);

  /// The single element of a one-element tensor, as T.
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

Tensor empty(const Shape& shape, TensorOptions options = {});
Tensor zeros(const Shape& shape, TensorOptions options = {});
Tensor ones(const Shape& shape, TensorOptions options = {});
Tensor full(const Shape& shape, double value, TensorOptions options = {});
/// [begin, begin + 1, ..., end - 1] of shape [end - begin].
Tensor arange(std::int64_t begin, std::int64_t end, TensorOptions options = {DType::int64});

/// A tensor on the CPU with the given elements; their count must fit the shape.
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
