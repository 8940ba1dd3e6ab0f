#include <doctest/doctest.h>

#include <limits>

#include <gradus/tensor/ops.h>
#include "tests/support/device.h"

using namespace gradus;
using namespace gradus::test;

namespace {

/// What is printed of a tensor on the device under test, up to the device's name.
std::string printed(const Tensor& x) {
  const std::string text = fmt::format("{}", on_device(x));
  const std::string place = fmt::format(" on {}", name(test_device()));
  REQUIRE(text.ends_with(place));
  return text.substr(0, text.size() - place.size());
}

}  // namespace

TEST_CASE("scalars, vectors and matrices are printed as nested lists, aligned") {
  CHECK(printed(full({}, 2.5)) == "2.5 float32 []");
  CHECK(printed(full({1}, -1)) == "[-1] float32 [1]");
  CHECK(printed(from_vector<float>({1, -2.5F, 1 / 3.0F, 4e9F, 1e-7F, 6}, {2, 3})) ==
        "[[       1,     -2.5, 0.333333],\n"
        " [   4e+09,    1e-07,        6]] float32 [2, 3]");
  CHECK(printed(arange(0, 8).reshape({2, 2, 2})) ==
        "[[[0, 1],\n"
        "  [2, 3]],\n"
        "\n"
        " [[4, 5],\n"
        "  [6, 7]]] int64 [2, 2, 2]");
}

TEST_CASE("every type is printed") {
  CHECK(printed(from_vector<double>({0.1, 1e300}, {2})) == "[   0.1, 1e+300] float64 [2]");
  CHECK(printed(from_vector<float>({0.1F}, {1}).to(DType::bfloat16)) == "[0.100098] bfloat16 [1]");
  CHECK(printed(from_vector<std::uint8_t>({0, 65, 255}, {3})) == "[  0,  65, 255] uint8 [3]");
  CHECK(printed(from_vector<std::int64_t>({std::numeric_limits<std::int64_t>::min()}, {1})) ==
        "[-9223372036854775808] int64 [1]");
  constexpr float infinity = std::numeric_limits<float>::infinity();
  CHECK(printed(from_vector<float>({infinity, -infinity, infinity - infinity}, {3}))
            .starts_with("[ inf, -inf,"));
}

TEST_CASE("nothing is printed as nothing") {
  CHECK(fmt::format("{}", Tensor()) == "undefined tensor");
  CHECK(printed(empty({0})) == "[] float32 [0]");
  CHECK(printed(empty({2, 0, 3})) == "[] float32 [2, 0, 3]");
}

TEST_CASE("long lines are wrapped") {
  const std::string text = printed(arange(1000, 1040));
  CHECK(
      text ==
      "[1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, "
      "1015,\n 1016, 1017, 1018, 1019, 1020, 1021, 1022, 1023, 1024, 1025, 1026, 1027, 1028, "
      "1029, 1030, 1031,\n 1032, 1033, 1034, 1035, 1036, 1037, 1038, 1039] int64 [40]");
}

TEST_CASE("of more than 1,000 elements the ends of each axis are printed") {
  CHECK(printed(arange(0, 1001)) == "[   0,    1,    2, ...,  998,  999, 1000] int64 [1001]");
  CHECK(printed(arange(0, 1000)).find("...") == std::string::npos);
  CHECK(printed(arange(0, 1400).reshape({7, 2, 100}).slice(0, 7)) ==
        "[[[   0,    1,    2, ...,   97,   98,   99],\n"
        "  [ 100,  101,  102, ...,  197,  198,  199]],\n"
        "\n"
        " [[ 200,  201,  202, ...,  297,  298,  299],\n"
        "  [ 300,  301,  302, ...,  397,  398,  399]],\n"
        "\n"
        " [[ 400,  401,  402, ...,  497,  498,  499],\n"
        "  [ 500,  501,  502, ...,  597,  598,  599]],\n"
        "\n"
        " ...,\n"
        "\n"
        " [[ 800,  801,  802, ...,  897,  898,  899],\n"
        "  [ 900,  901,  902, ...,  997,  998,  999]],\n"
        "\n"
        " [[1000, 1001, 1002, ..., 1097, 1098, 1099],\n"
        "  [1100, 1101, 1102, ..., 1197, 1198, 1199]],\n"
        "\n"
        " [[1200, 1201, 1202, ..., 1297, 1298, 1299],\n"
        "  [1300, 1301, 1302, ..., 1397, 1398, 1399]]] int64 [7, 2, 100]");
}
