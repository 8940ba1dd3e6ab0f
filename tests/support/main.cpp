// The main function of every test program.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "tests/support/device.h"

int main(int count, char** arguments) {
  try {
    gradus::test::test_device();  // a device that cannot be used is one error, not one a test
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return doctest::Context(count, arguments).run();
}
