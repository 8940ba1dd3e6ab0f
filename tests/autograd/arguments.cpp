// A bad argument is told in the same words by an operation on tensors and on Variables.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include <gradus/autograd/ops_fused.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"

using namespace gradus;
using namespace gradus::test;

namespace {

Tensor of_shape(const Shape& shape) { return ones(shape, device_options()); }

Tensor counts(const std::vector<std::int64_t>& values) {
  return from_vector(values, {static_cast<std::int64_t>(values.size())});
}

BatchStatistics statistics(std::int64_t channels) {
  return {of_shape({channels}), of_shape({channels})};
}

/// call(inputs) is an Error that begins with `message`, for inputs as tensors and as Variables.
template <class Call>
void refuses(const std::string& message, const std::vector<Tensor>& inputs, const Call& call) {
  std::vector<Variable> variables;
  for (const Tensor& input : inputs) variables.emplace_back(input);
  const std::string of_tensors = error_of([&] { call(inputs); });
  const std::string of_variables = error_of([&] { call(variables); });
  CAPTURE(message);
  CAPTURE(of_tensors);
  CHECK(of_tensors.starts_with(message));
  CHECK(of_variables == of_tensors);
}

/// A call of an operation with inputs in[0], in[1], ...
#define CALL(expression) [&](const auto& in) { expression; }

}  // namespace

TEST_CASE("bad arguments: elementwise") {
  const Tensor x = of_shape({2, 3}), integers = x.to(DType::int64), wide = of_shape({2, 4});
  refuses("[affine] x must be float32, float64", {integers}, CALL(affine(in[0], 2, 1)));
  refuses("[neg] x is undefined", {{}}, CALL(neg(in[0])));
  refuses("[exp] x is undefined", {{}}, CALL(exp(in[0])));
  refuses("[log] x is undefined", {{}}, CALL(log(in[0])));
  refuses("[sqrt] x is undefined", {{}}, CALL(sqrt(in[0])));
  refuses("[square] x is undefined", {{}}, CALL(square(in[0])));
  refuses("[pow] x is undefined", {{}}, CALL(pow(in[0], 2)));
  refuses("[abs] x is undefined", {{}}, CALL(abs(in[0])));
  refuses("[clamp] low must not exceed high; got 1 and 0", {x}, CALL(clamp(in[0], 1, 0)));
  refuses("[clamp] low must not exceed high; got nan", {x}, CALL(clamp(in[0], std::nan(""), 0)));
  refuses("[relu] x is undefined", {{}}, CALL(relu(in[0])));
  refuses("[leaky_relu] slope must be finite; got inf", {x}, CALL(leaky_relu(in[0], HUGE_VAL)));
  refuses("[sigmoid] x is undefined", {{}}, CALL(sigmoid(in[0])));
  refuses("[tanh] x is undefined", {{}}, CALL(tanh(in[0])));
  refuses("[gelu] x is undefined", {{}}, CALL(gelu(in[0])));
  refuses("[div] x must be float32", {integers}, CALL(div(in[0], 2)));
  refuses("[add] shapes must broadcast", {x, wide}, CALL(add(in[0], in[1])));
  refuses("[sub] shapes must broadcast", {x, wide}, CALL(sub(in[0], in[1])));
  refuses("[mul] shapes must broadcast", {x, wide}, CALL(mul(in[0], in[1])));
  refuses("[div] shapes must broadcast", {x, wide}, CALL(div(in[0], in[1])));
  refuses("[maximum] shapes must broadcast", {x, wide}, CALL(maximum(in[0], in[1])));
  refuses("[minimum] shapes must broadcast", {x, wide}, CALL(minimum(in[0], in[1])));
  refuses("[where] condition must be uint8", {x, x}, CALL(where(x, in[0], in[1])));
}

TEST_CASE("bad arguments: shapes and reductions") {
  const Tensor x = of_shape({2, 3}), wide = of_shape({2, 4});
  refuses("[permute] shape [2, 3] needs 2 axes", {x}, CALL(permute(in[0], {0, 1, 2})));
  refuses("[permute] axis 0 is given twice", {x}, CALL(permute(in[0], {0, 0})));
  refuses("[shape] ", {x}, CALL(transpose(in[0], 0, 2)));
  refuses("[broadcast_to] ", {x}, CALL(broadcast_to(in[0], {2, 4})));
  refuses("[concat] sizes must match", {x, wide}, CALL(concat({in[0], in[1]})));
  refuses("[concat] there must be at least one", {}, CALL(concat(in)));
  refuses("[slice] [2, 5) is not within axis 1", {x}, CALL(slice(in[0], 1, 2, 5)));
  refuses("[gather_rows] index 2 at position 1", {x}, CALL(gather_rows(in[0], counts({0, 2}))));
  refuses("[sum] ", {x}, CALL(sum(in[0], {2})));
  refuses("[mean] ", {x}, CALL(mean(in[0], {0, 0})));
  refuses("[variance] ", {x}, CALL(variance(in[0], {-3})));
  refuses("[max] there is no maximum", {of_shape({2, 0})}, CALL(max(in[0])));
}

TEST_CASE("bad arguments: matrices, convolution and pooling") {
  const Tensor x = of_shape({2, 3}), images = of_shape({1, 4, 4, 2}),
               weight = of_shape({3, 3, 3, 2});
  refuses("[matmul] inner sizes must match", {x, x}, CALL(matmul(in[0], in[1])));
  refuses("[logdet] x must be a square matrix", {x}, CALL(logdet(in[0])));
  refuses("[off_diagonal_square_sum] x must be a square", {x},
          CALL(off_diagonal_square_sum(in[0])));
  refuses("[conv2d] weight's input channels must match", {images, of_shape({3, 3, 3, 4})},
          CALL(conv2d(in[0], in[1])));
  refuses("[conv2d] stride must be at least 1", {images, weight},
          CALL(conv2d(in[0], in[1], {}, {.stride = 0})));
  refuses("[conv2d] bias must have shape [3]", {images, weight, of_shape({4})},
          CALL(conv2d(in[0], in[1], in[2])));
  refuses("[max_pool2d] padding must be at most", {images},
          CALL(max_pool2d(in[0], {.padding = 2})));
  refuses("[avg_pool2d] kernel must be at least 1", {images},
          CALL(avg_pool2d(in[0], {.kernel = 0})));
  refuses("[global_avg_pool2d] input must be [N, H, W, C]", {x}, CALL(global_avg_pool2d(in[0])));
}

TEST_CASE("bad arguments: normalisation and softmax") {
  const Tensor x = of_shape({4, 3}), c = of_shape({3}), images = of_shape({1, 4, 4, 3});
  refuses("[batch_norm] mean must have shape [3]", {x, c, c},
          CALL(batch_norm(in[0], statistics(4), in[1], in[2])));
  refuses("[batch_norm] gamma must have shape [3]", {x, of_shape({4}), c},
          CALL(batch_norm(in[0], statistics(3), in[1], in[2])));
  refuses("[batch_norm] eps must be finite and not negative", {x, c, c},
          CALL(batch_norm(in[0], statistics(3), in[1], in[2], {.eps = -1})));
  refuses("[batch_norm] residual must have shape [4, 3]", {x, c, c, of_shape({4, 2})},
          CALL(batch_norm_relu(in[0], statistics(3), in[1], in[2], {}, in[3])));
  refuses("[softmax] needs at least one axis", {of_shape({})}, CALL(softmax(in[0])));
  refuses("[log_softmax] needs at least one axis", {of_shape({})}, CALL(log_softmax(in[0])));
  refuses("[softmax_cross_entropy] labels must be in [0, 3); got 3", {x},
          CALL(softmax_cross_entropy(in[0], counts({0, 3, 1, 2}))));
  refuses("[softmax_cross_entropy] smoothing must be in [0, 1]; got 2", {x},
          CALL(softmax_cross_entropy(in[0], counts({0, 0, 1, 2}), 2)));
  refuses("[conv2d] weight's input channels must match", {images, of_shape({2, 3, 3, 4})},
          CALL(conv2d_with_statistics(in[0], in[1])));
}
