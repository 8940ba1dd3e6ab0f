// Random tensors and naive loops that tests compare with.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "tests/support/device.h"

namespace gradus::test {

/// Uniform values from the standard library's generator, not from the framework's own, on the
/// device of tests.
template <class T>
Tensor random_tensor(const Shape& shape, unsigned seed, double low = -1, double high = 1) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<double> distribution(low, high);
  std::vector<T> values(static_cast<std::size_t>(shape.numel()));
  for (T& value : values) value = static_cast<T>(distribution(engine));
  return device_vector(values, shape);
}

using Position = std::vector<std::int64_t>;

/// Calls function(position) for every element of `shape`, row by row.
template <class Function>
void for_each_position(const Shape& shape, Function function) {
  Position position(static_cast<std::size_t>(shape.rank()), 0);
  for (std::int64_t i = 0; i < shape.numel(); ++i) {
    function(position);
    for (int axis = shape.rank() - 1; axis >= 0 && ++position[axis] == shape[axis]; --axis)
      position[axis] = 0;
  }
}

/// Flat index of the element of `shape` that is read at `position` of a shape it broadcasts to.
inline std::int64_t flat_index(const Shape& shape, const Position& position) {
  const int lead = static_cast<int>(position.size()) - shape.rank();
  std::int64_t flat = 0;
  for (int axis = 0; axis < shape.rank(); ++axis)
    flat = flat * shape[axis] + (shape[axis] == 1 ? 0 : position[lead + axis]);
  return flat;
}

}  // namespace gradus::test
