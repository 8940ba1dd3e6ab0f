// Files of torch.save: those that PyTorch wrote (tests/reference/generate_pytorch.py), and hostile
// ones.
#include <gradus/tensor/io/pytorch.h>

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cmath>
#include <limits>

#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/temp_folder.h"
#include "tests/support/zip.h"

using namespace gradus;
using namespace gradus::test;
using namespace std::string_literals;

namespace {

template <class T>
void check_tensor(const TensorFile& file, const std::string& name, const Shape& shape,
                  const std::vector<T>& values) {
  CAPTURE(name);
  REQUIRE(file.tensors.contains(name));
  const Tensor& x = file.tensors.at(name);
  CHECK(x.shape() == shape);
  REQUIRE(x.dtype() == dtype_of<T>);
  CHECK(x.to_vector<T>() == values);
}

// ---- Pickles by hand ----

const std::string begin = "\x80\x02", end = ".";

std::string text(const std::string& s) {  // BINUNICODE
  std::string length(4, '\0');
  for (int i = 0; i < 4; ++i) length[i] = static_cast<char>(s.size() >> 8 * i);
  return "X" + length + s;
}

std::string number(std::int64_t value) {  // LONG1
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(value >> 8 * i);
  return "\x8a\x08" + bytes;
}

std::string tuple(const std::vector<std::int64_t>& values) {
  std::string items = "(";
  for (const std::int64_t value : values) items += number(value);
  return items + "t";
}

/// The storage "0" as `count` elements.
std::string storage(std::int64_t count, const std::string& type = "FloatStorage") {
  return "(" + text("storage") + "ctorch\n" + type + "\n" + text("0") + text("cpu") +
         number(count) + "tQ";
}

std::string tensor(std::int64_t offset, const std::vector<std::int64_t>& sizes,
                   const std::vector<std::int64_t>& strides, const std::string& of = storage(6),
                   const std::string& metadata = "") {
  return "ctorch._utils\n_rebuild_tensor_v2\n(" + of + number(offset) + tuple(sizes) +
         tuple(strides) + "\x89}" + metadata + "tR";
}

/// A dict of one value, "x".
std::string dict(const std::string& value) { return begin + "}" + text("x") + value + "s" + end; }

class Files {
 public:
  /// What is read of that pickle beside a storage of six floats.
  TensorFile read(const std::string& pickle, std::map<std::string, std::string> more = {}) const {
    more["data.pkl"] = pickle;
    more.emplace("data/0", std::string(24, '\0'));
    write_zip(path, more);
    return read_pytorch(path);
  }

  /// The error; "" where there is none. It is one line that names the file.
  std::string error(const std::string& pickle,
                    const std::map<std::string, std::string>& more = {}) const {
    return checked(error_of([&] { read(pickle, more); }));
  }
  std::string error_of_bytes(const std::string& bytes) const {
    write_text(path, bytes);
    return checked(error_of([&] { read_pytorch(path); }));
  }
  std::string checked(const std::string& message) const {
    CAPTURE(message);
    CHECK((message.empty() || message.starts_with("[load] cannot read " + path.string() + ": ")));
    CHECK(message.find('\n') == message.npos);
    CHECK(message.size() < 600);
    return message;
  }

  TempFolder folder;
  std::filesystem::path path = folder / "file.pt";
};

#define CHECK_CONTAINS(text, part) CHECK(std::string(text).find(part) != std::string::npos)

}  // namespace

TEST_CASE("all that torch.save writes of tensors and plain data is read") {
  for (const char* name :
       {"1.13_protocol2", "1.13_protocol5", "2.15_protocol2", "2.15_protocol5"}) {
    CAPTURE(name);
    const TensorFile file = read_pytorch(file_path("tests/reference/values_"s + name + ".pt"));
    check_tensor<std::int64_t>(file, "number", {}, {7});
    check_tensor<std::int64_t>(file, "negative", {}, {-(std::int64_t{1} << 40)});
    check_tensor<double>(file, "real", {}, {0.25});
    check_tensor<std::uint8_t>(file, "yes", {}, {1});
    CHECK(file.metadata ==
          std::map<std::string, std::string>{{"text", "größer"}, {"tuple.1.1", "x"}});
    check_tensor<std::int64_t>(file, "tuple.0", {}, {1});
    check_tensor<double>(file, "tuple.1.0", {}, {2.5});
    check_tensor<std::int64_t>(file, "list.2.0", {}, {3});
    check_tensor<std::int64_t>(file, "size.1", {}, {3});
    check_tensor<std::int64_t>(file, "5.integer key", {}, {70000});
    check_tensor<double>(file, "types.float64", {3}, {1, 2, 100});
    check_tensor<float>(file, "types.float16", {3}, {1, 2, 100});
    CHECK(file.tensors.at("types.bfloat16").dtype() == DType::bfloat16);
    CHECK(file.tensors.at("types.bfloat16").to(DType::float32).to_vector<float>() ==
          std::vector<float>{1, 2, 100});
    for (const char* type : {"int64", "int32", "int16", "int8"})
      check_tensor<std::int64_t>(file, "types."s + type, {3}, {1, 2, 100});
    check_tensor<std::uint8_t>(file, "types.uint8", {3}, {1, 2, 100});
    check_tensor<std::uint8_t>(file, "bool", {2}, {1, 0});
    check_tensor<float>(file, "half", {5},
                        {std::ldexp(1.0f, -24), 65504, -std::numeric_limits<float>::infinity(), 0,
                         1364 * std::ldexp(1.0f, -12)});
    CHECK(std::signbit(file.tensors.at("half").to_vector<float>()[3]));
    check_tensor<float>(file, "parameter", {1, 2}, {1, -2});
    check_tensor<float>(file, "scalar", {}, {3.5});
    check_tensor<float>(file, "no elements", {0, 3}, {});
    check_tensor<float>(file, "view", {2, 3}, {4, 5, 6, 7, 8, 9});
    CHECK(file.tensors.at("view").shares_storage(file.tensors.at("base")));
    std::vector<float> transposed, count;
    for (int i = 0; i < 24; ++i) {
      transposed.push_back(static_cast<float>(i % 4 * 6 + i / 4));
      count.push_back(static_cast<float>(i));
    }
    check_tensor<float>(file, "transposed", {6, 4}, transposed);
    check_tensor<float>(file, "strided", {5}, {1, 6, 11, 16, 21});
    check_tensor<float>(file, "expanded", {2, 3}, {4, 4, 4, 4, 4, 4});
    check_tensor<float>(file, "channels_last", {1, 2, 3, 4}, count);
    check_tensor<float>(file, "state.bias", {1}, {9});
    CHECK(file.tensors.at("state.weight").shape() == Shape{1, 2});
    check_tensor<float>(file, "module.running_var", {2}, {1, 1});
    check_tensor<std::int64_t>(file, "module.num_batches_tracked", {}, {0});
    CHECK(file.tensors.size() == 38);
  }
}

TEST_CASE("a pickle by hand is read, so that the hostile ones fail for their own reason") {
  const Files files;
  CHECK(files.read(dict(tensor(0, {2, 3}, {3, 1}))).tensors.at("x").shape() == Shape{2, 3});
  CHECK(files.read(dict(tensor(2, {2, 2}, {2, 1}))).tensors.at("x").numel() == 4);
  CHECK(files.read(dict(tensor(6, {0}, {1}))).tensors.at("x").numel() == 0);
  for (const std::string none : {"N", "}"})
    CHECK(files.read(dict(tensor(0, {6}, {1}, storage(6), none))).tensors.size() == 1);
  CHECK(files.read(dict("K\x05"), {{"byteorder", "little"}}).tensors.size() == 1);
  write_zip(files.path, {{"data.pkl", dict("K\x05")}}, 0, /*zip64=*/true);
  CHECK(read_tensors(files.path).tensors.at("x").item<std::int64_t>() == 5);
}

TEST_CASE("integers have their signs whatever their width") {
  const Files files;
  struct Case {
    std::string storage_type;
    std::size_t bytes;
  };
  for (const auto& [type, bytes] :
       {Case{"IntStorage", 4}, Case{"ShortStorage", 2}, Case{"CharStorage", 1}}) {
    CAPTURE(type);
    std::string elements(2 * bytes, '\xff');
    elements[0] = '\xfe';
    check_tensor<std::int64_t>(
        files.read(dict(tensor(0, {2}, {1}, storage(2, type))), {{"data/0", elements}}), "x", {2},
        {-2, -1});
  }
  const auto integer = [&](const std::string& opcode) {
    return files.read(dict(opcode)).tensors.at("x").item<std::int64_t>();
  };
  CHECK(integer("J\xfe\xff\xff\xff") == -2);  // BININT
  CHECK(integer("\x8a\x01\xfe") == -2);       // LONG1
  CHECK(integer("K\xfe") == 254);             // BININT1 and BININT2 have none
  CHECK(integer("M\xfe\xff") == 65534);
}

TEST_CASE("nothing is executed: what a pickle names beyond tensors is refused by its name") {
  const Files files;
  const std::string system = files.error(begin + "cos\nsystem\n" + text("true") + "\x85R" + end);
  CHECK_CONTAINS(system, "\"os.system\"");
  CHECK_CONTAINS(system, "torch.save(model.state_dict(), FILE)");
  CHECK_CONTAINS(files.error("\x80\x04" + text("builtins") + text("eval") + "\x93."),
                 "\"builtins.eval\"");
  CHECK_CONTAINS(files.error(dict(tensor(0, {1}, {1}, storage(3, "ComplexFloatStorage")))),
                 "\"torch.ComplexFloatStorage\"");
  CHECK_CONTAINS(files.error(dict("c__main__\nModel\n")), "\"__main__.Model\"");
  CHECK_CONTAINS(files.error(dict("C\x01z")), "opcode 0x43");
  CHECK_CONTAINS(files.error(dict("ctorch\nFloatStorage\n)R")), "a storage that is called");
  CHECK_CONTAINS(files.error(dict("ctorch\nFloatStorage\n")), "neither a tensor nor plain data");
}

TEST_CASE("views beyond their storage, and sizes that overflow") {
  const Files files;
  const std::int64_t huge = std::int64_t{1} << 62;
  struct Case {
    std::int64_t offset;
    std::vector<std::int64_t> sizes, strides;
  };
  for (const auto& [offset, sizes, strides] :
       {Case{0, {7}, {1}}, Case{1, {6}, {1}}, Case{6, {1}, {1}}, Case{-1, {2}, {1}},
        Case{0, {-1}, {1}}, Case{0, {2}, {-1}}, Case{0, {2, 2}, {5, 1}}, Case{0, {huge}, {1}},
        Case{0, {huge, huge}, {1, 1}}, Case{0, {3}, {huge}}, Case{huge, {2}, {huge}},
        Case{0, {huge, 2}, {0, 0}}, Case{0, {0, huge, huge}, {0, 0, 0}}}) {
    CAPTURE(offset);
    CHECK_CONTAINS(files.error(dict(tensor(offset, sizes, strides))), "is not within its storage");
  }
  CHECK_CONTAINS(files.error(dict(tensor(0, {1000, 1000, 1000}, {0, 0, 0}))),
                 "more than a file of its size justifies");
  CHECK_CONTAINS(files.error(dict(tensor(0, {1}, {1, 1}))), "1 sizes and 2 strides");
  const std::vector<std::int64_t> nine(9, 1);
  CHECK_CONTAINS(files.error(dict(tensor(0, nine, nine))), "at most 8 axes");
  CHECK_CONTAINS(files.error(dict(tensor(0, {1}, {1}, storage(huge)))), "too few or too many");
  CHECK_CONTAINS(files.error(dict(tensor(0, {1}, {1}, storage(-1)))), "too few or too many");
  const std::string both = begin + "]" + tensor(0, {1}, {1}) + "a" +
                           tensor(0, {1}, {1}, storage(3, "DoubleStorage")) + "a" + end;
  CHECK_CONTAINS(files.error(both), "used as two kinds");
}

TEST_CASE("bombs: depth, repetition, cycles") {
  const Files files;
  CHECK_CONTAINS(files.error(begin + std::string(900'000, ']') + std::string(899'999, 'a') + end),
                 "nested too deeply");
  CHECK_CONTAINS(files.error(begin + "]q\x01h\x01" + "a" + end), "nested too deeply");  // itself
  std::string twice = begin + "]q" + "\0"s;
  for (int i = 1; i < 30; ++i) {
    const std::string before = "h"s + static_cast<char>(i - 1);
    twice += "]q"s + static_cast<char>(i) + before + "a" + before + "a";
  }
  CHECK_CONTAINS(files.error(twice + end), "repeated too often");
  // A long text is not copied for each of its names.
  std::string texts = begin + "](" + text(std::string(1'000'000, 'a')) + "q" + "\0"s;
  for (int i = 0; i < 3000; ++i) texts += "h\0"s;
  CHECK_CONTAINS(files.error(texts + "e" + end), "repeated too often");
  CHECK_CONTAINS(files.error(begin + "}" + text("a.b") + "K\x01s" + text("a") + "}" + text("b") +
                             "K\x01ss" + end),
                 "\"a.b\" is there twice");
}

TEST_CASE("a tensor whose elements are still to be negated is refused") {
  const Files files;
  const std::string negated = "}" + text("neg") + "\x88s";  // {"neg": True}
  CHECK_CONTAINS(files.error(dict(tensor(0, {6}, {1}, storage(6), negated))), "clone()");
}

TEST_CASE("every cut of a pickle and of a file is refused") {
  const Files files;
  const std::string pickle = dict(tensor(0, {2, 3}, {3, 1}));
  for (std::size_t bytes = 0; bytes < pickle.size(); ++bytes) {
    CAPTURE(bytes);
    CHECK(files.error(pickle.substr(0, bytes)) != "");
  }
  files.read(pickle);
  const std::string whole = read_text(files.path);
  // Without its last bytes, the length of a comment that is not there, a file is whole.
  for (std::size_t bytes = 0; bytes < whole.size() - 3; ++bytes) {
    CAPTURE(bytes);
    CHECK(files.error_of_bytes(whole.substr(0, bytes)) != "");
  }
  std::string flipped = whole;
  flipped[whole.find("data/0") + 6 + 5] ^= 1;
  CHECK_CONTAINS(files.error_of_bytes(flipped), "does not have its checksum");
}

TEST_CASE("files that are something else") {
  const Files files;
  CHECK_CONTAINS(error_of([&] { read_pytorch(files.folder / "none.pt"); }), "no such file");
  CHECK_CONTAINS(error_of([&] { read_pytorch(files.folder.path()); }), "not a regular file");
  const auto pipe = files.folder / "pipe";  // which nobody writes
  REQUIRE(::mkfifo(std::string(pipe).c_str(), 0600) == 0);
  CHECK_CONTAINS(error_of([&] { read_tensors(pipe); }), "not a regular file");
  CHECK_CONTAINS(files.error_of_bytes("PK\x03\x04 but no more"), "truncated or corrupt");
  CHECK_CONTAINS(files.error_of_bytes("text"), "not a file of torch.save");
  const std::string legacy = file_path("tests/reference/values_legacy.pt");
  CHECK_ERROR(read_tensors(legacy), "PyTorch before 1.6; in a newer one convert it");
  CHECK_CONTAINS(files.error(dict("K\x05"), {{"byteorder", "big"}}), "not little-endian");
  CHECK_CONTAINS(files.error(begin + "K\x05."), "neither a dict nor a list");
  CHECK_CONTAINS(files.error("\x80\x06N."), "pickle protocol 6");
  CHECK_CONTAINS(files.error("(dp0\n."), "not a pickle of protocol 2 to 5");
  write_zip(files.path, {{"data.pkl", dict(std::string(500, 'N'))}}, Z_DEFLATED);
  CHECK_ERROR(read_pytorch(files.path), "is compressed");
  write_zip(files.path, {{"other", "x"}});
  CHECK_ERROR(read_pytorch(files.path), "\"data.pkl\" is missing");
  CHECK_CONTAINS(files.error(dict(tensor(0, {1}, {1}, storage(6))), {{"data/0", "short"}}),
                 "too few or too many for 6 elements");
}
