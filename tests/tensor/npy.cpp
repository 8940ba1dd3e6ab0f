// Files in numpy's format, byte by byte.
#include <gradus/tensor/io/npy.h>

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "tests/support/temp_folder.h"

using namespace gradus;
using namespace gradus::test;

namespace {

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

/// A file whose header is padded to 118 bytes, so that the elements begin at byte 128.
std::string npy(const std::string& header, const std::string& elements) {
  std::string padded = header;
  padded.resize(117, ' ');
  return std::string("\x93NUMPY\x01\x00\x76\x00", 10) + padded + "\n" + elements;
}

std::string written(const Tensor& x) {
  const TempFolder folder;
  write_npy(folder / "x.npy", on_device(x));
  CHECK(count_files(folder.path()) == 1);
  return read_text(folder / "x.npy");
}

}  // namespace

TEST_CASE("npy: type, shape and elements of each kind") {
  const std::vector<float> floats{1, -2, 0.5f, 3, 4, 5};
  CHECK(written(from_vector(floats, {2, 3})) ==
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", bytes_of(floats)));
  const std::vector<std::int64_t> integers{1, -1, std::int64_t{1} << 40};
  CHECK(written(from_vector(integers, {3})) ==
        npy("{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }", bytes_of(integers)));
  const std::vector<double> number{0.1};
  CHECK(written(from_vector(number, {})) ==
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (), }", bytes_of(number)));
  const std::vector<std::uint8_t> pixels{0, 255};
  CHECK(written(from_vector(pixels, {1, 2, 1})) ==
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 1), }", bytes_of(pixels)));
  CHECK(written(zeros({0, 2})) ==
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 2), }", ""));
}

TEST_CASE("npy: bfloat16 becomes float32, and a view its own elements") {
  const Tensor x = from_vector<float>({1.5f, -2, 7, 8}, {2, 2});
  CHECK(written(x.to(DType::bfloat16)) == written(x));
  CHECK(written(x.slice(1, 2)) == written(from_vector<float>({7, 8}, {1, 2})));
}

TEST_CASE("npy: a file that cannot be written is told") {
  const TempFolder folder;
  CHECK_ERROR(write_npy(folder / "none" / "x.npy", ones({1})), "x.npy");
  CHECK_ERROR(write_npy(folder / "x.npy", Tensor()), "x.npy: the tensor is undefined");
}
