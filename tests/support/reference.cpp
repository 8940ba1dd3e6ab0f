#include "tests/support/reference.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include <gradus/tensor/random.h>
#include "tests/support/files.h"

namespace gradus::test {
namespace {

std::vector<double> unit(std::string_view name, std::int64_t count) {
  Generator generator(fnv1a(name));
  return uniform({count}, 0, 1, generator, {DType::float64}).to_vector<double>();
}

}  // namespace

std::uint64_t fnv1a(std::string_view name) {
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (const char byte : name) {
    hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001B3u;
  }
  return hash;
}

Tensor named_uniform(std::string_view name, const Shape& shape, double low, double high) {
  std::vector<double> values = unit(name, shape.numel());
  for (double& value : values) value = static_cast<float>(low + (high - low) * value);
  return from_vector(values, shape);
}

Tensor named_away_from_zero(std::string_view name, const Shape& shape) {
  Tensor result = named_uniform(name, shape);
  double* values = result.data<double>();
  for (std::int64_t i = 0; i < result.numel(); ++i) {
    values[i] = static_cast<float>((values[i] < 0 ? -0.1 : 0.1) + 0.9 * values[i]);
  }
  return result;
}

Tensor named_distinct(std::string_view name, const Shape& shape, double shift) {
  const std::vector<double> keys = unit(name, shape.numel());
  std::vector<std::int64_t> order(keys.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int64_t a, std::int64_t b) { return keys[a] < keys[b]; });
  const auto half = static_cast<std::int64_t>(keys.size() / 2);
  std::vector<double> values(keys.size());
  for (std::int64_t rank = 0; rank < std::ssize(order); ++rank) {
    values[order[rank]] = 0.125 * static_cast<double>(rank - half) + shift;
  }
  return from_vector(values, shape);
}

TensorFile read_reference(const std::string& file) {
  return read_safetensors(file_path("tests/reference/" + file));
}

}  // namespace gradus::test
