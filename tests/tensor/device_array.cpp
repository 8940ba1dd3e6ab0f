#include <gradus/tensor/device_array.h>

#include <doctest/doctest.h>

#include "tests/support/device.h"

using namespace gradus;
using namespace gradus::test;

namespace {

struct Pair {
  double number = 0;
  bool flag = false;
  bool operator==(const Pair&) const = default;
};

}  // namespace

TEST_CASE("structs go to the device and back") {
  const std::vector<Pair> values{{0.5, true}, {-2, false}, {1e300, true}};
  DeviceArray<Pair> array(values, test_device());
  CHECK(array.size() == 3);
  CHECK(array.device() == test_device());
  CHECK(array.to_vector() == values);
}

TEST_CASE("new values take the old ones' place; where their number changes, another") {
  DeviceArray<Pair> array;
  CHECK(array.size() == 0);
  array.assign(std::vector<Pair>(3), test_device());
  const Pair* before = array.data();
  const std::vector<Pair> values{{1, true}, {2, true}, {3, false}};
  array.assign(values, test_device());
  CHECK(array.data() == before);
  CHECK(array.to_vector() == values);
  array.assign(std::vector<Pair>(1000, {7, true}), test_device());
  CHECK(array.to_vector() == std::vector<Pair>(1000, {7, true}));
}
