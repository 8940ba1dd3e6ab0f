#include "tests/support/device.h"

#include <cstdlib>
#include <string_view>

#include <gradus/tensor/check.h>

namespace gradus::cuda::emulator {
// Null in programs without the emulator.
[[gnu::weak]] void set_order_check(bool on);
[[gnu::weak]] bool order_check();
[[gnu::weak]] void set_late_branches(bool on);
}  // namespace gradus::cuda::emulator

namespace gradus::test {
namespace {

std::string_view requested() {
  const char* value = std::getenv("GRADUS_TEST_DEVICE");
  return value == nullptr ? "cpu" : value;
}

Device find_device() {
  if (requested() == "cpu") return Device::cpu;
  check(requested() == "cuda", "tests", "GRADUS_TEST_DEVICE must be cpu or cuda; got {}",
        requested());
  check(cuda_available(), "tests", "GRADUS_TEST_DEVICE is cuda, but {}", cuda_unavailable_reason());
  return Device::cuda;
}

}  // namespace

Device test_device() {
  static const Device device = find_device();
  return device;
}

bool on_emulator() {
  static const bool emulated = test_device() == Device::cuda &&
                               cuda_device_description().find("emulated GPU") != std::string::npos;
  return emulated;
}

OneOrder::OneOrder() {
  if (cuda::emulator::set_order_check == nullptr) return;
  before_ = cuda::emulator::order_check();
  cuda::emulator::set_order_check(false);
}

OneOrder::~OneOrder() {
  if (cuda::emulator::set_order_check != nullptr) cuda::emulator::set_order_check(before_);
}

LateBranches::LateBranches(bool late) {
  if (cuda::emulator::set_late_branches != nullptr) cuda::emulator::set_late_branches(late);
}

LateBranches::~LateBranches() {
  if (cuda::emulator::set_late_branches != nullptr) cuda::emulator::set_late_branches(false);
}

doctest::skip cpu_only() { return {requested() != "cpu"}; }
doctest::skip gpu_only() { return {requested() == "cpu"}; }

}  // namespace gradus::test
