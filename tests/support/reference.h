// Numbers that the tests share with the generators under tests/reference, and what those computed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <gradus/tensor/io/safetensors.h>
#include <gradus/tensor/tensor.h>

namespace gradus::test {

/// 64-bit FNV-1a hash of a string: the Philox seed of the numbers called `name`.
std::uint64_t fnv1a(std::string_view name);

/// Uniform on [low, high), a pure function of `name`; float64, rounded to float32 so that both
/// precisions see the same inputs.
Tensor named_uniform(std::string_view name, const Shape& shape, double low = -1, double high = 1);
/// 0.1 <= |x| < 1, for functions with a kink at zero.
Tensor named_away_from_zero(std::string_view name, const Shape& shape);
/// A random order of numbers 0.125 apart, for maxima: 0.125 (rank - count / 2) + shift.
Tensor named_distinct(std::string_view name, const Shape& shape, double shift = 0);

/// A file of tests/reference.
TensorFile read_reference(const std::string& file);

}  // namespace gradus::test
