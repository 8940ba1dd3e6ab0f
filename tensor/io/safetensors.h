// Files of named tensors in the safetensors format, which Python's `safetensors` reads and writes:
// a little-endian u64 header length, a JSON header
//   {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...,
//    "__metadata__": {"key": "value", ...}}
// padded with spaces, then the elements. https://huggingface.co/docs/safetensors
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include <gradus/tensor/tensor.h>

namespace gradus {

/// The contents of a file: tensors by name, and any strings beside them.
struct TensorFile {
  std::map<std::string, Tensor> tensors = {};
  std::map<std::string, std::string> metadata = {};
};

/// Reads a file whole, into tensors on the CPU. Element types F32, F64, BF16, U8 and I64.
///
/// A file is not trusted: lengths, offsets and shapes are checked against its size before anything
/// is allocated, and where the file carries a checksum (all that `write_safetensors` makes do)
/// header and elements are checked against it. Errors are one line:
///   [load] cannot read FILE: truncated: the data needs 180 MB, 12 MB are there
TensorFile read_safetensors(const std::filesystem::path& path);

/// Writes a file atomically (tensor/io/file.h). Tensors of larger elements stand first, and those
/// of one size in the order of their names, so that all stay aligned. The metadata gains the entry
/// "gradus.crc32", a CRC-32 over the rest of the header and the elements; the reader takes it out
/// again. The same contents always give the same bytes.
void write_safetensors(const std::filesystem::path& path, const TensorFile& file);

}  // namespace gradus
