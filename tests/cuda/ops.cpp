// Every op case on the GPU: in bfloat16 against the CPU, and the same bits every time. In float32
// and float64 tests/autograd compares what the GPU gives with PyTorch's.
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

TEST_CASE("bfloat16: the GPU agrees with the CPU") {
  constexpr double tolerance = 0x1p-7;  // two roundings of 2^-8, and their effect
  for (const OpCase& op_case : op_cases()) {
    if (!op_case.takes_bfloat16()) continue;
    CAPTURE(op_case.name);
    const OpResult cpu = run_case(op_case, DType::bfloat16, Device::cpu);
    const OpResult gpu = run_case(op_case, DType::bfloat16, Device::cuda);
    for_each_result(cpu, gpu, [&](const std::string& what, const Tensor& a, const Tensor& b) {
      CAPTURE(what);
      CHECK(b.device() == Device::cuda);
      CHECK(b.dtype() == a.dtype());
      CHECK(relative_error(b, a) < tolerance);
    });
  }
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
