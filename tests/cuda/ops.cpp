// Every op case on the GPU against the CPU: values and gradients, in each precision.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <set>

#include <gradus/autograd/ops.h>
#include "tests/support/compare.h"
#include "tests/support/op_cases.h"
#include "tests/support/reference.h"

namespace gradus::test {
namespace {

/// What has no bfloat16, by the first part of the cases' names: losses stay in float32.
const std::set<std::string> full_precision_only = {"vicreg_loss", "coding_rate_loss", "logdet"};

std::string family(const OpCase& op_case) { return op_case.name.substr(0, op_case.name.find('.')); }

/// Calls function(name, on_cpu, on_gpu) for the output and each gradient.
template <class Function>
void for_each_result(const OpResult& cpu, const OpResult& gpu, Function function) {
  function("output", cpu.output, gpu.output);
  for (std::size_t i = 0; i < cpu.gradients.size(); ++i) {
    function(fmt::format("gradient {}", i), cpu.gradients[i], gpu.gradients[i]);
  }
}

/// Runs all cases on both; the largest difference may be `tolerance` times max(1, largest value).
void compare_devices(DType dtype, double tolerance) {
  for (const OpCase& op_case : op_cases()) {
    if (dtype == DType::bfloat16 && full_precision_only.contains(family(op_case))) continue;
    CAPTURE(op_case.name);
    const OpResult cpu = run_case(op_case, dtype, Device::cpu);
    const OpResult gpu = run_case(op_case, dtype, Device::cuda);
    for_each_result(cpu, gpu, [&](const std::string& what, const Tensor& a, const Tensor& b) {
      CAPTURE(what);
      CHECK(b.device() == Device::cuda);
      CHECK(b.dtype() == a.dtype());
      CHECK(difference(b, a) < tolerance);
    });
  }
}

TEST_CASE("float64: the GPU agrees with the CPU") { compare_devices(DType::float64, 1e-12); }

TEST_CASE("float32: the GPU agrees with the CPU") { compare_devices(DType::float32, 2e-5); }

TEST_CASE("bfloat16: the GPU agrees with the CPU") {
  compare_devices(DType::bfloat16, 0x1p-7);  // two roundings of 2^-9, and their effect
}

TEST_CASE("the GPU gives the same bits every time") {
  for (const OpCase& op_case : op_cases()) {
    CAPTURE(op_case.name);
    const OpResult once = run_case(op_case, DType::float32, Device::cuda);
    const OpResult again = run_case(op_case, DType::float32, Device::cuda);
    for_each_result(once, again, [&](const std::string& what, const Tensor& a, const Tensor& b) {
      CAPTURE(what);
      CHECK(same_bits(a, b));
    });
  }
}

}  // namespace
}  // namespace gradus::test
