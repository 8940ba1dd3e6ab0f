#include <gradus/tensor/io/safetensors.h>

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <string>

#include <gradus/tensor/check.h>
#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "tests/support/temp_folder.h"

using namespace gradus;
using namespace gradus::test;

namespace {

template <class T>
Tensor tensor_of(std::vector<T> values, Shape shape) {
  return from_vector<T>(values, shape);
}

TensorFile example() {
  TensorFile file;
  file.tensors["weight"] = tensor_of<float>({1, -2, 3.5f, 0, 5, 6}, {2, 3});
  file.tensors["double"] = tensor_of<double>({1e-300, 2}, {2});
  file.tensors["bytes"] = tensor_of<std::uint8_t>({7, 8, 255}, {3});
  file.tensors["count"] = tensor_of<std::int64_t>({-9'000'000'000}, {});
  file.tensors["nothing"] = empty({0, 4});
  file.metadata["config"] = "{\"lr\": 0.1}\n\u00e9";
  return file;
}

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         (a.bytes() == 0 || std::memcmp(a.raw(), b.raw(), a.bytes()) == 0);
}

bool same_tensors(const TensorFile& a, const TensorFile& b) {
  if (a.tensors.size() != b.tensors.size()) return false;
  for (const auto& [name, tensor] : a.tensors) {
    const auto other = b.tensors.find(name);
    if (other == b.tensors.end() || !same(tensor, other->second)) return false;
  }
  return true;
}

std::string file_text(std::uint64_t header_length, const std::string& rest) {
  std::string text(8, '\0');
  std::memcpy(text.data(), &header_length, 8);
  return text + rest;
}

/// The error of reading a file with this header and `data_bytes` zero bytes, less its beginning
/// "[load] cannot read PATH: "; "" if it can be read.
std::string header_error(const std::string& header, std::size_t data_bytes) {
  const TempFolder folder;
  const auto path = folder / "file";
  write_text(path, file_text(header.size(), header + std::string(data_bytes, '\0')));
  const std::string error = error_of([&] { read_safetensors(path); });
  const std::string start = "[load] cannot read " + path.string() + ": ";
  if (error.empty()) return error;
  REQUIRE(error.starts_with(start));
  CHECK(error.find('\n') == std::string::npos);
  return error.substr(start.size());
}

/// The header of one tensor "x".
std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "{\"x\":{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets +
         "}}";
}

}  // namespace

TEST_SUITE_BEGIN("safetensors" * test::cpu_only());

TEST_CASE("safetensors: what is written is read back") {
  const TempFolder folder;
  const auto path = folder / "file.safetensors";
  const TensorFile file = example();
  write_safetensors(path, file);
  const TensorFile read = read_safetensors(path);
  CHECK(same_tensors(read, file));
  CHECK(read.metadata == file.metadata);
  CHECK(count_files(folder.path()) == 1);

  write_safetensors(folder / "again", read);
  CHECK(read_text(folder / "again") == read_text(path));
}

TEST_CASE("safetensors: a file without tensors") {
  const TempFolder folder;
  write_safetensors(folder / "file", {});
  const TensorFile read = read_safetensors(folder / "file");
  CHECK(read.tensors.empty());
  CHECK(read.metadata.empty());
}

TEST_CASE("safetensors: a view is written as the elements that it shows") {
  const TempFolder folder;
  TensorFile file;
  file.tensors["rows"] = tensor_of<float>({1, 2, 3, 4, 5, 6}, {3, 2}).slice(1, 2);
  write_safetensors(folder / "file", file);
  CHECK(read_safetensors(folder / "file").tensors.at("rows").to_vector<float>() ==
        std::vector<float>{3, 4});
}

TEST_CASE("safetensors: layout of the written file") {
  const TempFolder folder;
  write_safetensors(folder / "file", example());
  const std::string text = read_text(folder / "file");
  std::uint64_t length = 0;
  std::memcpy(&length, text.data(), 8);
  CHECK(length % 8 == 0);
  CHECK(text.size() == 8 + length + 8 + 16 + 24 + 3);
  // 8-byte elements first, then 4, then 1; by name among equals.
  const auto offsets = [&](const std::string& name) {
    const std::size_t at = text.find("\"data_offsets\":", text.find("\"" + name + "\":{")) + 15;
    return text.substr(at, text.find(']', at) + 1 - at);
  };
  CHECK(offsets("count") == "[0,8]");
  CHECK(offsets("double") == "[8,24]");
  CHECK(offsets("nothing") == "[24,24]");
  CHECK(offsets("weight") == "[24,48]");
  CHECK(offsets("bytes") == "[48,51]");
}

TEST_CASE("safetensors: reads what other programs write") {
  const TempFolder folder;
  const float values[2] = {1.5f, -2.0f};
  std::string data(8, '\0');
  std::memcpy(data.data(), values, 8);
  // Padding, other entries' order, no metadata and no checksum.
  const std::string header = R"({"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},)"
                             R"("a":{"data_offsets":[0,4],"shape":[],"dtype":"F32"}}    )";
  write_text(folder / "file", file_text(header.size(), header + data));
  const TensorFile read = read_safetensors(folder / "file");
  CHECK(read.tensors.at("a").shape() == Shape{});
  CHECK(read.tensors.at("a").item<float>() == 1.5f);
  CHECK(read.tensors.at("b").item<float>() == -2.0f);
}

TEST_CASE("safetensors: the names of element types") {
  const TempFolder folder;
  struct Case {
    std::string name;
    DType dtype;
    std::string bytes;
  };
  for (const auto& [name, dtype, bytes] :
       {Case{"F32", DType::float32, "4"}, Case{"F64", DType::float64, "8"},
        Case{"BF16", DType::bfloat16, "2"}, Case{"U8", DType::uint8, "1"},
        Case{"I64", DType::int64, "8"}}) {
    CAPTURE(name);
    const std::string header = entry("\"" + name + "\"", "[1]", "[0," + bytes + "]");
    write_text(folder / "file",
               file_text(header.size(), header + std::string(std::stoul(bytes), '\0')));
    CHECK(read_safetensors(folder / "file").tensors.at("x").dtype() == dtype);
  }
}

TEST_CASE("safetensors: files that are no files") {
  const TempFolder folder;
  const auto error = [&](const std::string& name) {
    return error_of([&] { read_safetensors(folder / name); });
  };
  const std::string start = "[load] cannot read " + (folder / "").string();
  CHECK(error("missing") == start + "missing: no such file");
  CHECK(error("") == start + ": not a regular file");
  write_text(folder / "empty", "");
  CHECK(error("empty") == start + "empty: the file is empty");
  write_text(folder / "short", "1234567");
  CHECK(error("short") == start + "short: truncated: 7 bytes are too few for a safetensors file");
}

TEST_CASE("safetensors: header lengths beyond reason") {
  const TempFolder folder;
  for (const std::uint64_t length :
       {std::uint64_t{1} << 60, std::uint64_t{100'000'001}, ~std::uint64_t{0}}) {
    write_text(folder / "file", file_text(length, "{}"));
    const std::string error = error_of([&] { read_safetensors(folder / "file"); });
    CHECK(error.find("over the limit of 100 MB") != std::string::npos);
  }
  write_text(folder / "file", file_text(100'000'000, "{}"));
  CHECK(error_of([&] {
          read_safetensors(folder / "file");
        }).ends_with("truncated: the header needs 100 MB, 2 bytes are there"));
}

TEST_CASE("safetensors: headers that are not valid") {
  CHECK(header_error("", 0) == "the header is not valid JSON (at byte 1)");
  CHECK(header_error("{", 0) == "the header is not valid JSON (at byte 2)");
  CHECK(header_error("{\"\xff\":1}", 0) == "the header is not valid JSON (at byte 3)");
  CHECK(header_error("{\"x\":1e999}", 0) ==
        "the header is not valid JSON (a number is out of range)");
  CHECK(header_error("[]", 0) == "the header is not a JSON object");
  CHECK(header_error(std::string(100'000, '['), 0) == "the header is nested too deeply");
  CHECK(header_error(R"({"x":{"shape":[[1]]}})", 0) == "the header is nested too deeply");
  CHECK(header_error(R"({"__metadata__":[]})", 0) == "__metadata__ is not a JSON object");
  CHECK(header_error(R"({"__metadata__":{"a":1}})", 0) == "__metadata__ \"a\" is not a string");
  const std::string one = R"("x":{"dtype":"U8","shape":[],"data_offsets":[0,1]})";
  CHECK(header_error("{" + one + "}", 1) == "");
  CHECK(header_error("{" + one + "," + one + "}", 1) == "the header has the key \"x\" twice");
  CHECK(header_error(R"({"x":{"dtype":"U8","dtype":"F32","shape":[],"data_offsets":[0,1]}})", 1) ==
        "the header has the key \"dtype\" twice");
}

TEST_CASE("safetensors: entries that are not valid") {
  CHECK(header_error(R"({"x":[]})", 0) == "tensor \"x\" is not a JSON object");
  CHECK(header_error(R"({"x":{}})", 0) == "tensor \"x\" has no dtype string");
  CHECK(header_error(entry("1", "[]", "[0,1]"), 1) == "tensor \"x\" has no dtype string");
  CHECK(header_error(entry("\"F16\"", "[1]", "[0,2]"), 2) ==
        "tensor \"x\" has the dtype \"F16\"; supported are F32, F64, BF16, U8 and I64");
  CHECK(header_error(entry("\"U8\"", "3", "[0,3]"), 3) == "tensor \"x\" has no shape array");
  CHECK(header_error(entry("\"U8\"", "[-3]", "[0,3]"), 3) ==
        "tensor \"x\": shape is not made of non-negative integers");
  CHECK(header_error(entry("\"U8\"", "[3.0]", "[0,3]"), 3) ==
        "tensor \"x\": shape is not made of non-negative integers");
  CHECK(header_error(entry("\"U8\"", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1) ==
        "tensor \"x\" has 9 axes; at most 8 are supported");
  CHECK(header_error(entry("\"U8\"", "[3]", "[0]"), 3) ==
        "tensor \"x\": data_offsets is not a pair [begin, end]");
  CHECK(header_error(entry("\"U8\"", "[3]", "[3,0]"), 3) ==
        "tensor \"x\": data_offsets is not a pair [begin, end]");
  CHECK(header_error(entry("\"F32\"", "[3]", "[0,3]"), 3) ==
        "tensor \"x\" of shape [3] and dtype float32 needs 12 bytes, data_offsets give 3");
  CHECK(header_error("{\"a\\nb\":1}", 0) == "tensor \"a\\nb\" is not a JSON object");
}

TEST_CASE("safetensors: shapes that overflow or exceed the file allocate nothing") {
  const std::string overflow = "tensor \"x\": the shape's size overflows";
  CHECK(header_error(entry("\"U8\"", "[4294967296,4294967296]", "[0,0]"), 0) == overflow);
  CHECK(header_error(entry("\"F64\"", "[2305843009213693952]", "[0,0]"), 0) == overflow);
  CHECK(header_error(entry("\"U8\"", "[18446744073709551615]", "[0,1]"), 1) == overflow);
  const std::string huge = "4611686018427387904";
  CHECK(header_error(entry("\"U8\"", "[0," + huge + "," + huge + "]", "[0,0]"), 0) == overflow);
  CHECK(header_error(entry("\"F32\"", "[" + huge + ",0]", "[0,0]"), 0) == "");
  const std::size_t before = memory_stats().system_allocations;
  CHECK(header_error(entry("\"U8\"", "[1152921504606846976]", "[0,1152921504606846976]"), 5) ==
        "truncated: the data needs 1152921504606846976 bytes, 5 are there");
  CHECK(memory_stats().system_allocations == before);
}

TEST_CASE("safetensors: data that overlaps, has holes or a tail") {
  const auto two = [](const std::string& first, const std::string& second) {
    return R"({"a":{"dtype":"U8","shape":[2],"data_offsets":)" + first +
           R"(},"b":{"dtype":"U8","shape":[2],"data_offsets":)" + second + "}}";
  };
  CHECK(header_error(two("[0,2]", "[2,4]"), 4) == "");
  CHECK(header_error(two("[2,4]", "[0,2]"), 4) == "");
  CHECK(header_error(two("[0,2]", "[1,3]"), 4) ==
        "tensor \"b\" begins at byte 1 of the data, before byte 2 where the one before it ends");
  CHECK(header_error(two("[0,2]", "[0,2]"), 2) ==
        "tensor \"b\" begins at byte 0 of the data, before byte 2 where the one before it ends");
  CHECK(header_error(two("[0,2]", "[3,5]"), 5) ==
        "tensor \"b\" begins at byte 3 of the data, after byte 2 where the one before it ends");
  CHECK(header_error(two("[1,3]", "[3,5]"), 5) ==
        "tensor \"a\" begins at byte 1 of the data, after byte 0 where the one before it ends");
  CHECK(header_error(two("[0,2]", "[2,4]"), 3) == "truncated: the data needs 4 bytes, 3 are there");
  CHECK(header_error(two("[0,2]", "[2,4]"), 5) == "1 bytes at the end belong to no tensor");
}

TEST_CASE("safetensors: every truncation is an error") {
  const TempFolder folder;
  write_safetensors(folder / "file", example());
  const std::string text = read_text(folder / "file");
  for (std::size_t size = 0; size < text.size(); ++size) {
    write_text(folder / "cut", text.substr(0, size));
    const std::string error = error_of([&] { read_safetensors(folder / "cut"); });
    INFO("size ", size);
    CHECK(!error.empty());
    CHECK(error.find('\n') == std::string::npos);
  }
}

TEST_CASE("safetensors: no flipped bit changes a tensor unnoticed") {
  const TempFolder folder;
  const TensorFile file = example();
  write_safetensors(folder / "file", file);
  const std::string text = read_text(folder / "file");
  const std::size_t key = text.find("gradus.crc32");
  for (std::size_t byte = 0; byte < text.size(); ++byte) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string flipped = text;
      flipped[byte] = static_cast<char>(flipped[byte] ^ (1 << bit));
      write_text(folder / "flipped", flipped);
      INFO("byte ", byte, " bit ", bit);
      // Only the checksum's own name may change unseen: the tensors are then as they were.
      TensorFile read;
      const std::string error = error_of([&] { read = read_safetensors(folder / "flipped"); });
      const bool in_key = byte >= key && byte < key + std::strlen("gradus.crc32");
      const bool unharmed = error.empty() && in_key && same_tensors(read, file);
      CHECK((unharmed || error.starts_with("[load] cannot read ")));
    }
  }
  std::string flipped = text;
  flipped.back() ^= 1;
  write_text(folder / "flipped", flipped);
  CHECK(error_of([&] { read_safetensors(folder / "flipped"); })
            .ends_with("checksum mismatch: the file is corrupt; use another copy or an earlier "
                       "checkpoint"));
}

TEST_CASE("safetensors: what cannot be written") {
  const TempFolder folder;
  const auto path = folder / "file";
  const auto error = [&](const TensorFile& file) {
    return error_of([&] { write_safetensors(path, file); });
  };
  CHECK(error({.tensors = {{"x", Tensor{}}}}) == "[save] tensor \"x\" is undefined");
  CHECK(error({.tensors = {{"__metadata__", zeros({1})}}}) ==
        "[save] a tensor cannot be named __metadata__");
  CHECK(error({.metadata = {{"gradus.crc32", "0"}}}) ==
        "[save] the metadata key gradus.crc32 is reserved");
  CHECK(error({.tensors = {{"\xff", zeros({1})}}}) ==
        "[save] cannot write " + path.string() +
            ": a name or a metadata string is not valid UTF-8");
  CHECK(count_files(folder.path()) == 0);
}

TEST_SUITE_END();
