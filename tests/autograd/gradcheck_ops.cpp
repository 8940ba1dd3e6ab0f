// What every op must pass: the analytic gradient against central differences, float32 against
// float64, and the same bits for any number of threads.
#include <doctest/doctest.h>

#include <functional>

#include <gradus/autograd/gradcheck.h>
#include <gradus/autograd/ops_fused.h>
#include "tests/support/compare.h"
#include "tests/support/op_cases.h"

namespace gradus::test {
namespace {

TEST_CASE("gradients agree with central differences") {
  // On the emulator, reference_ops.cpp compares all of a gradient's elements with PyTorch's.
  const GradcheckOptions options{
      .most_elements = pick_size(std::numeric_limits<std::int64_t>::max(), std::int64_t{2})};
  for (const OpCase& op_case : op_cases()) {
    std::vector<Tensor> inputs;
    for (const Tensor& value : op_case.values()) inputs.push_back(on_device(value));
    const GradcheckResult result = gradcheck(op_case.function, inputs, options);
    CHECK_MESSAGE(result, op_case.name << ": " << result.message);
  }
}

TEST_CASE("the gradient of a tie goes to the first") {
  const TensorOptions options = device_options();
  const std::vector<float> all{1, 1}, none{0, 0};
  using Op = std::function<Variable(const Variable&, const Variable&)>;
  for (const Op& op : {Op([](const auto&a, const auto&b) { return maximum(a, b); }),
                       Op([](const auto&a, const auto&b) { return minimum(a, b); })}) {
    const Variable a(ones({2}, options), true), b(ones({2}, options), true);
    sum(op(a, b)).backward();
    CHECK(a.grad().to_vector<float>() == all);
    CHECK(b.grad().to_vector<float>() == none);
  }
  const Variable x(device_vector<float>({1, 3, 3}, {3}), true);
  max(x).backward();
  CHECK(x.grad().to_vector<float>() == std::vector<float>{0, 1, 0});
}

TEST_CASE("the gradient of a permutation whose axes count from the last") {
  const Variable x(ones({2, 3}, device_options()), true);
  const Tensor weights = device_vector<float>({1, 2, 3, 4, 5, 6}, {3, 2});
  permute(x, {-1, -2}).backward(weights);
  CHECK(same_bits(x.grad(), transpose(weights)));
}

// What an op keeps for which gradient does not depend on the device.
TEST_CASE("an input's gradient is the same where all others are constants" * cpu_only()) {
  for (const OpCase& op_case : op_cases()) {
    CAPTURE(op_case.name);
    const OpResult expected = run_case(op_case, DType::float64);
    const std::vector<Tensor> values = op_case.values();
    for (std::size_t i = 0; i < values.size(); ++i) {
      CAPTURE(i);
      std::vector<Variable> inputs;
      for (const Tensor& value : values) inputs.emplace_back(value, inputs.size() == i);
      const Variable output = op_case.function(inputs);
      output.backward(op_case.output_weights(output.shape()).to(output.dtype()));
      CHECK(relative_error(inputs[i].grad(), expected.gradients[i]) < 1e-14);
    }
  }
}

TEST_CASE("float32 agrees with float64") {
  for (const OpCase& op_case : op_cases()) {
    CAPTURE(op_case.name);
    const OpResult single = run_case(op_case, DType::float32);
    const OpResult expected = run_case(op_case, DType::float64);
    CHECK(single.output.dtype() == DType::float32);
    CHECK(relative_error(single.output, expected.output) < 2e-6);
    for (std::size_t i = 0; i < expected.gradients.size(); ++i) {
      CAPTURE(i);
      CHECK(single.gradients[i].dtype() == DType::float32);
      CHECK(relative_error(single.gradients[i], expected.gradients[i]) < 3e-5);
    }
  }
}

/// Cases of a size at which work is shared among threads.
OpCases large_cases() {
  using Inputs = std::vector<Variable>;
  const InputSpec images = uniform_input({9, 21, 17, 24});
  const InputSpec vector = uniform_input({24}, 0.5, 1.5);
  const InputSpec columns = uniform_input({70001, 3});
  return {
      {"gelu", {images}, [](const Inputs& in) { return gelu(in[0]); }},
      {"mul.row", {images, vector}, [](const Inputs& in) { return mul(in[0], in[1]); }},
      {"div.column",
       {columns, uniform_input({70001, 1}, 0.5, 1.5)},
       [](const Inputs& in) { return div(in[0], in[1]); }},
      {"permute",
       {images},
       [](const Inputs& in) {
         return permute(in[0], {0, 3, 1, 2});
       }},
      {"sum.all", {columns}, [](const Inputs& in) { return sum(in[0]); }},
      {"sum.rows", {columns}, [](const Inputs& in) { return sum(in[0], {0}); }},
      {"mean.middle",
       {images},
       [](const Inputs& in) {
         return mean(in[0], {1, 2});
       }},
      {"variance.rows", {columns}, [](const Inputs& in) { return variance(in[0], {0}); }},
      {"max.rows", {columns}, [](const Inputs& in) { return max(in[0], {1}); }},
      {"matmul",
       {uniform_input({301, 517}), uniform_input({517, 259})},
       [](const Inputs& in) { return matmul(in[0], in[1]); }},
      {"conv2d",
       {images, uniform_input({40, 3, 3, 24}), uniform_input({40})},
       [](const Inputs& in) { return conv2d(in[0], in[1], in[2], {.stride = 2, .padding = 1}); }},
      {"conv2d.groups",
       {images, uniform_input({24, 3, 3, 6})},
       [](const Inputs& in) { return conv2d(in[0], in[1], {}, {.padding = 1, .groups = 4}); }},
      {"max_pool2d",
       {images},
       [](const Inputs& in) {
         return max_pool2d(in[0], {.kernel = 3, .stride = 2, .padding = 1});
       }},
      {"avg_pool2d",
       {images},
       [](const Inputs& in) {
         return avg_pool2d(in[0], {.kernel = 3, .stride = 2, .padding = 1});
       }},
      {"batch_norm",
       {images, vector, uniform_input({24})},
       [](const Inputs& in) {
         return batch_norm(in[0], batch_norm_statistics(in[0].value()), in[1], in[2]);
       }},
      {"batch_norm_relu",
       {images, vector, uniform_input({24}), images},
       [](const Inputs& in) {
         return batch_norm_relu(in[0], batch_norm_statistics(in[0].value()), in[1], in[2], {},
                                in[3]);
       }},
      {"off_diagonal_square_sum",
       {uniform_input({701, 701})},
       [](const Inputs& in) { return off_diagonal_square_sum(in[0]); }},
      {"log_softmax",
       {uniform_input({3001, 37})},
       [](const Inputs& in) { return log_softmax(in[0]); }},
      {"gather_rows",
       {uniform_input({50, 3001})},
       [](const Inputs& in) {
         return gather_rows(in[0], from_vector<std::int64_t>({7, 49, 7, 0, 7, 12, 49}, {7}));
       }},
  };
}

void check_threads(const OpCases& cases) {
  for (const OpCase& op_case : cases) {
    CAPTURE(op_case.name);
    const auto run = [&] { return run_case(op_case, DType::float32); };
    const OpResult one = with_threads(1, run);
    for (const int threads : {2, 3}) {
      CAPTURE(threads);
      const OpResult several = with_threads(threads, run);
      CHECK(same_bits(one.output, several.output));
      for (std::size_t i = 0; i < one.gradients.size(); ++i) {
        CAPTURE(i);
        CHECK(same_bits(one.gradients[i], several.gradients[i]));
      }
    }
  }
}

TEST_CASE("the number of threads changes no bit" * cpu_only()) { check_threads(op_cases()); }

TEST_CASE("the number of threads changes no bit of large results" * cpu_only()) {
  check_threads(large_cases());
}

}  // namespace
}  // namespace gradus::test
