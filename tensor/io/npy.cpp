#include <gradus/tensor/io/npy.h>

#include <fmt/ranges.h>

#include <gradus/tensor/io/file.h>

namespace gradus {
namespace {

/// Byte order, kind and size of an element.
const char* descriptor(DType dtype) {
  switch (dtype) {
    case DType::float64: return "<f8";
    case DType::uint8: return "|u1";
    case DType::int64: return "<i8";
    case DType::float32:
    case DType::bfloat16: break;
  }
  return "<f4";
}

}  // namespace

void write_npy(const std::filesystem::path& path, const Tensor& tensor) {
  check(tensor.defined(), "save", "{}: the tensor is undefined", path.string());
  const DType dtype = compute_dtype(tensor.dtype());
  const Tensor x = tensor.to(Device::cpu).to(dtype);
  std::string header =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}", descriptor(dtype),
                  fmt::join(x.shape(), ", "), x.rank() == 1 ? "," : "");
  // Magic, version 1.0 and the header's length (two bytes, little-endian), then the header, padded
  // so that the elements are aligned.
  constexpr std::size_t before = 10, alignment = 64;
  const std::size_t end = (before + header.size() + 1 + alignment - 1) / alignment * alignment;
  header.resize(end - before - 1, ' ');
  header += '\n';
  std::string start("\x93NUMPY\x01\x00", 8);
  start += static_cast<char>(header.size() & 255);
  start += static_cast<char>(header.size() >> 8);
  write_file_atomically(
      path,
      [&](FileWriter& out) {
        out.write(start);
        out.write(header);
        out.write(x.raw(), x.bytes());
      },
      end + x.bytes());
}

}  // namespace gradus
