// Exercise 01: strides and broadcasting.
//
// A tensor is a block of numbers and a shape. In a [rows, columns] tensor element (i, j) is number
// i * columns + j * 1 of the block: each axis has a stride, the distance of neighbours along it,
// here `columns` along axis 0 and 1 along axis 1. Broadcasting is only a matter of strides. An axis
// of size 1 that must act as if it were longer gets stride 0: each step along it meets the same
// number again.
//
// Task: y = a + b. Each has a shape of its own, [rows, columns]; where their sizes along an axis
// differ, one of the two is 1. y has the larger size along each axis.
//
// In the library: tensor/ops/elementwise.cpp (broadcast_strides).
#pragma once

#include <algorithm>
#include <array>
#include <vector>

inline std::vector<float> broadcast_add(const std::vector<float>& a, std::array<int, 2> a_shape,
                                        const std::vector<float>& b, std::array<int, 2> b_shape) {
  // TODO: the result's shape; two strides for a, two for b; a loop over rows and columns.
  return {};
}
