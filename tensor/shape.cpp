#include <gradus/tensor/shape.h>

#include <fmt/ranges.h>

#include <algorithm>

namespace gradus {

Shape::Shape(std::span<const std::int64_t> sizes) {
  for (std::int64_t size : sizes) push_back(size);
}

void Shape::push_back(std::int64_t size) {
  check(rank_ < max_rank, "shape", "at most {} axes are supported", max_rank);
  check(size >= 0, "shape", "sizes must not be negative; got {} at axis {}", size, rank_);
  sizes_[rank_++] = size;
}

std::int64_t Shape::numel() const {
  std::int64_t product = 1;
  bool empty = false;
  for (std::int64_t size : *this) {
    if (size < 0) fail("shape", "{} has a negative size", to_string(*this));
    empty = empty || size == 0;
    if (size != 0 && __builtin_mul_overflow(product, size, &product))
      fail("shape", "{} has more elements than can be counted", to_string(*this));
  }
  return empty ? 0 : product;
}

int Shape::normalize(int axis) const {
  int normalized = axis < 0 ? axis + rank_ : axis;
  if (normalized < 0 || normalized >= rank_)
    fail("shape", "axis {} is out of range for shape {}", axis, to_string(*this));
  return normalized;
}

std::string to_string(const Shape& shape) {
  return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", "));
}

Shape broadcast_shapes(std::string_view where, const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  std::array<std::int64_t, Shape::max_rank> sizes{};
  for (int i = 1; i <= rank; ++i) {  // i-th axis from the end
    const std::int64_t size_a = i <= a.rank() ? a[-i] : 1;
    const std::int64_t size_b = i <= b.rank() ? b[-i] : 1;
    check(size_a == size_b || size_a == 1 || size_b == 1, where,
          "shapes must broadcast (equal sizes or 1, aligned at the last axis); got {} and {}", a,
          b);
    sizes[rank - i] = size_a == 1 ? size_b : size_a;
  }
  return Shape(std::span<const std::int64_t>(sizes.data(), static_cast<std::size_t>(rank)));
}

Axes::Axes(std::initializer_list<int> axes) {
  for (int axis : axes) push_back(axis);
}

void Axes::push_back(int axis) {
  check(count_ < Shape::max_rank, "axes", "at most {} axes are supported", Shape::max_rank);
  axes_[count_++] = axis;
}

std::array<bool, Shape::max_rank> Axes::mask(std::string_view where, const Shape& shape) const {
  std::array<bool, Shape::max_rank> mask{};
  for (int i = 0; i < shape.rank(); ++i) mask[i] = count_ == 0;
  for (int i = 0; i < count_; ++i) {
    const int axis = axes_[i] < 0 ? axes_[i] + shape.rank() : axes_[i];
    check(axis >= 0 && axis < shape.rank(), where, "axis {} is out of range for shape {}", axes_[i],
          shape);
    check(!mask[axis], where, "axis {} is given twice", axes_[i]);
    mask[axis] = true;
  }
  return mask;
}

}  // namespace gradus
