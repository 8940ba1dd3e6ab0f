// The op cases: every op on Variables, with the options and the shapes that matter. One table
// serves the gradient checks, the comparison with PyTorch (tests/reference/generate_ops.py has the
// same cases by name), and every other check that all ops must pass.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <gradus/autograd/variable.h>
#include "tests/support/device.h"

namespace gradus::test {

/// How an input is drawn, from the name of its case and its position.
struct InputSpec {
  enum class Kind { uniform, away_from_zero, distinct };
  Shape shape;
  Kind kind = Kind::uniform;
  double low = -1;  ///< uniform: on [low, high)
  double high = 1;
  double shift = 0;        ///< distinct: added to multiples of 0.125
  bool parameter = false;  ///< stays float32 where the other inputs are bfloat16
};

/// Uniform on [low, high).
inline InputSpec uniform_input(const Shape& shape, double low = -1, double high = 1) {
  return {.shape = shape, .low = low, .high = high};
}
/// 0.1 <= |x| < 1, for functions with a kink at zero.
inline InputSpec input_away_from_zero(const Shape& shape) {
  return {.shape = shape, .kind = InputSpec::Kind::away_from_zero};
}
/// Elements that differ by 0.125 and more, for maxima.
inline InputSpec distinct_input(const Shape& shape, double shift = 0) {
  return {.shape = shape, .kind = InputSpec::Kind::distinct, .shift = shift};
}

/// A weight, a bias, a scale or a shift: uniform on [low, high).
inline InputSpec parameter_input(const Shape& shape, double low = -1, double high = 1) {
  return {.shape = shape, .low = low, .high = high, .parameter = true};
}

/// A pure function of Variables with the inputs to try it on.
struct OpCase {
  using Function = std::function<Variable(const std::vector<Variable>&)>;
  std::string name;
  std::vector<InputSpec> inputs;
  Function function;

  /// The inputs' values, float64 (exactly representable in float32).
  std::vector<Tensor> values() const;
  /// Whether the function takes bfloat16: log det, and with it the losses of embeddings, do not.
  bool takes_bfloat16() const;
  /// The weights that turn an output of `shape` into the scalar sum(weights * output).
  Tensor output_weights(const Shape& shape) const;
};

/// All cases, each with a name of its own.
const std::vector<OpCase>& op_cases();

/// Output and gradients of one case in one precision.
struct OpResult {
  Tensor output;
  std::vector<Tensor> gradients;
};
/// Runs a case forward and backward, with `output_weights` as the output's gradient.
OpResult run_case(const OpCase& op_case, DType dtype, Device device = test_device());

// The families that make up the table, tests/support/op_cases/<family>.cpp.
using OpCases = std::vector<OpCase>;
void add_elementwise_cases(OpCases& cases);
void add_shape_cases(OpCases& cases);
void add_reduce_cases(OpCases& cases);
void add_matmul_cases(OpCases& cases);
void add_conv_cases(OpCases& cases);
void add_pool_cases(OpCases& cases);
void add_norm_cases(OpCases& cases);
void add_loss_cases(OpCases& cases);

}  // namespace gradus::test
