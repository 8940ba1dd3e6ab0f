// Every op case on the GPU against the CPU: values and gradients, in each precision.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <gradus/autograd/ops.h>
#include "tests/support/compare.h"
#include "tests/support/op_cases.h"

namespace gradus::test {
namespace {

/// Calls function(name, on_cpu, on_gpu) for the output and each gradient.
template <class Function>
void for_each_result(const OpResult& cpu, const OpResult& gpu, Function function) {
  function("output", cpu.output, gpu.output);
  for (std::size_t i = 0; i < cpu.gradients.size(); ++i) {
    function(fmt::format("gradient {}", i), cpu.gradients[i], gpu.gradients[i]);
  }
}

/// Runs all cases on both; `tolerance` is relative to the largest value of each result.
void compare_devices(DType dtype, double tolerance) {
  for (const OpCase& op_case : op_cases()) {
    if (dtype == DType::bfloat16 && !op_case.takes_bfloat16()) continue;
    CAPTURE(op_case.name);
    const OpResult cpu = run_case(op_case, dtype, Device::cpu);
    const OpResult gpu = run_case(op_case, dtype, Device::cuda);
    for_each_result(cpu, gpu, [&](const std::string& what, const Tensor& a, const Tensor& b) {
      CAPTURE(what);
      CHECK(b.device() == Device::cuda);
      CHECK(b.dtype() == a.dtype());
      CHECK(relative_error(b, a) < tolerance);
    });
  }
}

TEST_CASE("float64: the GPU agrees with the CPU") { compare_devices(DType::float64, 4e-14); }

TEST_CASE("float32: the GPU agrees with the CPU") { compare_devices(DType::float32, 3e-5); }

TEST_CASE("bfloat16: the GPU agrees with the CPU") {
  compare_devices(DType::bfloat16, 0x1p-7);  // two roundings of 2^-8, and their effect
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
