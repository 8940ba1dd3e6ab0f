// Files of one tensor in numpy's format .npy, which numpy.load reads.
#pragma once

#include <filesystem>

#include <gradus/tensor/tensor.h>

namespace gradus {

/// Writes a tensor, from any device, atomically (tensor/io/file.h); throws Error if it cannot.
/// numpy has no bfloat16: such tensors are written as float32.
/// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
void write_npy(const std::filesystem::path& path, const Tensor& tensor);

}  // namespace gradus
