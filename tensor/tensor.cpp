#include <gradus/tensor/tensor.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

#include "tensor/backend/dispatch.h"
#include "tensor/backend/note_changes.h"

namespace gradus {

Tensor::Tensor(const Shape& shape, DType dtype, Device device)
    : shape_(shape), numel_(shape.numel()), dtype_(dtype), device_(device) {
  check(static_cast<std::size_t>(numel_) <=
            std::numeric_limits<std::ptrdiff_t>::max() / item_size(dtype),
        "tensor", "shape {} of {} has more bytes than can be addressed", shape, name(dtype));
  storage_ = std::make_shared<Storage>(static_cast<std::size_t>(numel_) * item_size(dtype), device);
}

void Tensor::require_dtype(DType dtype) const {
  check(defined(), "tensor", "the tensor is undefined (it was never given a value)");
  check(dtype == dtype_, "tensor", "elements are {}, but were asked for as {}", name(dtype_),
        name(dtype));
}

const void* Tensor::raw() const {
  return storage_ ? static_cast<const std::byte*>(storage_->data()) + byte_offset_ : nullptr;
}

namespace {

thread_local std::vector<std::weak_ptr<Storage>>* noted_changes = nullptr;

}  // namespace

NoteChanges::NoteChanges(std::vector<std::weak_ptr<Storage>>& changed)
    : outer_(std::exchange(noted_changes, &changed)) {}

NoteChanges::~NoteChanges() { noted_changes = outer_; }

void* Tensor::raw() {
  if (storage_) {
    storage_->count_change();
    if (noted_changes) noted_changes->push_back(storage_);
  }
  return const_cast<void*>(std::as_const(*this).raw());
}

Tensor Tensor::reshape(std::initializer_list<std::int64_t> sizes) const {
  int inferred = -1;
  Shape shape;
  for (std::int64_t size : sizes) {
    if (size == -1) {
      check(inferred < 0, "reshape", "only one size may be -1");
      inferred = shape.rank();
      shape.push_back(1);
    } else {
      shape.push_back(size);
    }
  }
  if (inferred >= 0) {
    const std::int64_t known = shape.numel();
    check(known != 0 && numel_ % known == 0, "reshape",
          "cannot infer the size given as -1: {} elements of shape {} do not divide by {}", numel_,
          shape_, known);
    shape[inferred] = numel_ / known;
  }
  return reshape(shape);
}

Tensor Tensor::reshape(const Shape& shape) const {
  check(defined(), "reshape", "the tensor is undefined");
  check(shape.numel() == numel_, "reshape", "{} has {} elements, {} has {}", shape_, numel_, shape,
        shape.numel());
  Tensor view = *this;
  view.shape_ = shape;
  return view;
}

Tensor Tensor::slice(std::int64_t begin, std::int64_t end) const {
  check(defined(), "slice", "the tensor is undefined");
  check(rank() > 0, "slice", "a scalar has no leading axis");
  check(0 <= begin && begin <= end && end <= size(0), "slice",
        "rows [{}, {}) are not within shape {}", begin, end, shape_);
  Tensor view = *this;
  const std::int64_t row = size(0) == 0 ? 0 : numel_ / size(0);
  view.shape_[0] = end - begin;
  view.numel_ = row * (end - begin);
  view.byte_offset_ = byte_offset_ + begin * row * static_cast<std::int64_t>(item_size(dtype_));
  return view;
}

Tensor Tensor::clone() const {
  check(defined(), "clone", "the tensor is undefined");
  Tensor copy(shape_, dtype_, device_);
  copy.copy_from(*this);
  return copy;
}

void Tensor::copy_from(const Tensor& source) {
  check(defined() && source.defined(), "copy_from", "both tensors must be defined");
  check(shape_ == source.shape_ && dtype_ == source.dtype_, "copy_from",
        "shapes and types must match; got {} {} and {} {}", shape_, name(dtype_), source.shape_,
        name(source.dtype_));
  if (numel_ == 0) return;
  const std::int64_t apart = std::abs(byte_offset_ - source.byte_offset_);
  if (shares_storage(source) && apart < static_cast<std::int64_t>(bytes()))
    return copy_from(source.clone());  // they overlap
  copy_bytes(raw(), device_, source.raw(), source.device_, bytes());
}

Tensor Tensor::to(Device device) const {
  check(defined(), "to", "the tensor is undefined");
  if (device == device_) return *this;
  Tensor copy(shape_, dtype_, device);
  copy.copy_from(*this);
  return copy;
}

Tensor Tensor::to(DType dtype) const {
  check(defined(), "to", "the tensor is undefined");
  if (dtype == dtype_) return *this;
  Tensor result(shape_, dtype, device_);
  dispatch_any(dtype_, [&]<class From>() {
    dispatch_any(dtype, [&]<class To>() {
      GRADUS_KERNEL(device_, cast<From, To>(data<From>(), result.data<To>(), numel_));
    });
  });
  return result;
}

void Tensor::fill(double value) {
  check(defined(), "fill", "the tensor is undefined");
  dispatch_any(dtype_, [&]<class T>() {
    GRADUS_KERNEL(device_, fill<T>(data<T>(), static_cast<T>(value), numel_));
  });
}

template <class T>
T Tensor::item() const {
  check(defined(), "item", "the tensor is undefined");
  check(numel_ == 1, "item", "the tensor must have one element; got shape {}", shape_);
  return to_vector<T>()[0];
}

template <class T>
std::vector<T> Tensor::to_vector() const {
  require_dtype(dtype_of<T>);
  std::vector<T> values(static_cast<std::size_t>(numel_));
  if (numel_ > 0) copy_bytes(values.data(), Device::cpu, raw(), device_, bytes());
  return values;
}

Tensor empty(const Shape& shape, TensorOptions options) {
  return Tensor(shape, options.dtype, options.device);
}

Tensor zeros(const Shape& shape, TensorOptions options) { return full(shape, 0.0, options); }

Tensor ones(const Shape& shape, TensorOptions options) { return full(shape, 1.0, options); }

Tensor full(const Shape& shape, double value, TensorOptions options) {
  Tensor result = empty(shape, options);
  result.fill(value);
  return result;
}

Tensor arange(std::int64_t begin, std::int64_t end, TensorOptions options) {
  check(begin <= end, "arange", "begin must not exceed end; got {} and {}", begin, end);
  std::int64_t count = 0;
  check(!__builtin_sub_overflow(end, begin, &count), "arange",
        "[{}, {}) has more elements than can be counted", begin, end);
  Tensor values({count}, DType::int64, Device::cpu);
  auto* const first = values.data<std::int64_t>();
  std::iota(first, first + count, begin);
  return values.to(options.dtype).to(options.device);
}

template <class T>
Tensor from_span(std::span<const T> values, const Shape& shape) {
  check(static_cast<std::int64_t>(values.size()) == shape.numel(), "from_span",
        "shape {} needs {} elements; got {}", shape, shape.numel(), values.size());
  Tensor result(shape, dtype_of<T>, Device::cpu);
  if (!values.empty()) std::memcpy(result.raw(), values.data(), result.bytes());
  return result;
}

#define GRADUS_INSTANTIATE(T)                           \
  template T Tensor::item<T>() const;                   \
  template std::vector<T> Tensor::to_vector<T>() const; \
  template Tensor from_span(std::span<const T>, const Shape&);
GRADUS_INSTANTIATE(float)
GRADUS_INSTANTIATE(double)
GRADUS_INSTANTIATE(BFloat16)
GRADUS_INSTANTIATE(std::uint8_t)
GRADUS_INSTANTIATE(std::int64_t)
#undef GRADUS_INSTANTIATE

}  // namespace gradus
