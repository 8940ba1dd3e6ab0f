// Shapes and sets of axes: small value types that never allocate.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include <gradus/tensor/check.h>

namespace gradus {

/// The sizes of a tensor's axes, outermost first; [] is a scalar. At most `max_rank` axes.
class Shape {
 public:
  static constexpr int max_rank = 8;

  /// That of a scalar.
  Shape() = default;
  /// Throws Error, as push_back does, if a size is negative or there are more than max_rank.
  Shape(std::initializer_list<std::int64_t> sizes)
      : Shape(std::span(sizes.begin(), sizes.size())) {}
  explicit Shape(std::span<const std::int64_t> sizes);

  int rank() const { return rank_; }
  /// Size of an axis; negative axes count from the end.
  std::int64_t operator[](int axis) const { return sizes_[normalize(axis)]; }
  std::int64_t& operator[](int axis) { return sizes_[normalize(axis)]; }
  /// Product of all sizes; 1 for a scalar. Throws if one is negative, or if that of the sizes that
  /// are not 0 is too large for int64, so that every product of some of them can be computed.
  std::int64_t numel() const;
  /// Axis in [0, rank); throws if it is out of range.
  int normalize(int axis) const;

  /// Adds an axis after the last.
  void push_back(std::int64_t size);
  /// The sizes, from the outermost axis on.
  const std::int64_t* begin() const { return sizes_.data(); }
  const std::int64_t* end() const { return sizes_.data() + rank_; }

  bool operator==(const Shape& other) const {
    return std::equal(begin(), end(), other.begin(), other.end());
  }

 private:
  std::array<std::int64_t, max_rank> sizes_{};
  int rank_ = 0;
};

/// "[8, 32, 32, 3]".
std::string to_string(const Shape& shape);

/// The shape that `a` and `b` broadcast to (sizes equal or 1, aligned at the last axis).
/// Throws Error, in the name of the op `where`, if they do not.
Shape broadcast_shapes(std::string_view where, const Shape& a, const Shape& b);

/// A set of axes, for reductions. Negative axes count from the end; {} means all axes.
class Axes {
 public:
  Axes() = default;
  /// Throws Error, as push_back does, if there are more than Shape::max_rank.
  Axes(std::initializer_list<int> axes);

  /// Adds an axis to the set, which then means no more than those that it was given.
  void push_back(int axis);

  /// Whether none was given, which means all.
  bool empty() const { return count_ == 0; }
  /// Whether each axis of `shape` is in the set; throws on axes out of range or given twice.
  std::array<bool, Shape::max_rank> mask(std::string_view where, const Shape& shape) const;

 private:
  std::array<int, Shape::max_rank> axes_{};
  int count_ = 0;
};

}  // namespace gradus

template <>
struct fmt::formatter<gradus::Shape> : fmt::formatter<std::string_view> {
  template <class Context>
  auto format(const gradus::Shape& shape, Context& context) const {
    return fmt::formatter<std::string_view>::format(gradus::to_string(shape), context);
  }
};
