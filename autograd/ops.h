// The operations of tensor/ops.h on Variables: the same names, arguments and errors, with
// gradients. That header says what each computes; here stands what is particular to gradients, and
// what is not there.
#pragma once

#include <span>

#include <gradus/autograd/variable.h>
#include <gradus/tensor/ops.h>

namespace gradus {

// --- Elementwise ------------------------------------------------------------------------------
Variable affine(const Variable& x, double scale, double shift);
Variable neg(const Variable& x);
Variable exp(const Variable& x);
Variable log(const Variable& x);
Variable sqrt(const Variable& x);
Variable square(const Variable& x);
Variable pow(const Variable& x, double exponent);
Variable abs(const Variable& x);
Variable clamp(const Variable& x, double low, double high);
Variable relu(const Variable& x);
Variable leaky_relu(const Variable& x, double slope = 0.01);
Variable sigmoid(const Variable& x);
Variable tanh(const Variable& x);
Variable gelu(const Variable& x);
Variable add(const Variable& a, const Variable& b);
Variable sub(const Variable& a, const Variable& b);
Variable mul(const Variable& a, const Variable& b);
Variable div(const Variable& a, const Variable& b);
Variable div(const Variable& x, double divisor);
/// Where a == b the gradient goes to a.
Variable maximum(const Variable& a, const Variable& b);
Variable minimum(const Variable& a, const Variable& b);
/// The gradient goes to a where the condition holds, elsewhere to b.
Variable where(const Tensor& condition, const Variable& a, const Variable& b);

inline Variable operator+(const Variable& a, const Variable& b) { return add(a, b); }
inline Variable operator-(const Variable& a, const Variable& b) { return sub(a, b); }
inline Variable operator*(const Variable& a, const Variable& b) { return mul(a, b); }
inline Variable operator/(const Variable& a, const Variable& b) { return div(a, b); }
inline Variable operator+(const Variable& a, double b) { return affine(a, 1, b); }
inline Variable operator-(const Variable& a, double b) { return affine(a, 1, -b); }
inline Variable operator*(const Variable& a, double b) { return affine(a, b, -0.0); }
inline Variable operator/(const Variable& a, double b) { return div(a, b); }
inline Variable operator+(double a, const Variable& b) { return affine(b, 1, a); }
inline Variable operator-(double a, const Variable& b) { return affine(b, -1, a); }
inline Variable operator*(double a, const Variable& b) { return b * a; }
inline Variable operator-(const Variable& a) { return neg(a); }

/// As Tensor::to(DType), between floating types: another one is an Error. The gradient is converted
/// back.
Variable cast(const Variable& x, DType dtype);

// --- Shape ------------------------------------------------------------------------------------
/// As Tensor::reshape.
Variable reshape(const Variable& x, const Shape& shape);
Variable reshape(const Variable& x, std::initializer_list<std::int64_t> sizes);
/// Axes from `first` on become one: [N, H, W, C] -> [N, H W C] with first = 1.
Variable flatten(const Variable& x, int first = 1);
Variable permute(const Variable& x, std::initializer_list<int> axes);
Variable transpose(const Variable& x, int axis0 = -2, int axis1 = -1);
Variable broadcast_to(const Variable& x, const Shape& shape);
Variable concat(std::span<const Variable> variables, int axis = 0);
Variable concat(std::initializer_list<Variable> variables, int axis = 0);
Variable slice(const Variable& x, int axis, std::int64_t begin, std::int64_t end);
Variable gather_rows(const Variable& x, const Tensor& index);

// --- Reductions -------------------------------------------------------------------------------
Variable sum(const Variable& x, Axes axes = {}, bool keep_axes = false);
Variable mean(const Variable& x, Axes axes = {}, bool keep_axes = false);
Variable variance(const Variable& x, Axes axes = {}, VarianceOptions options = {});
/// The values alone. The gradient goes to the first of equal maxima.
Variable max(const Variable& x, Axes axes = {}, bool keep_axes = false);

// --- Matrices, convolution, pooling, normalisation ---------------------------------------------
Variable matmul(const Variable& a, const Variable& b, MatmulOptions options = {});
/// log det of symmetric positive definite matrices [n, n] -> [] or [B, n, n] -> [B]. The gradient
/// dy x^-1 is that of a matrix whose two triangles move together.
Variable logdet(const Variable& x);
/// x W^T + b; x [..., in], weight [out, in], bias [out] or undefined -> [..., out]. x may be
/// bfloat16 beside float32 parameters: these are converted, and their gradients stay float32.
Variable linear(const Variable& x, const Variable& weight, const Variable& bias = {});
Variable conv2d(const Variable& input, const Variable& weight, const Variable& bias = {},
                const Conv2dOptions& options = {});
Variable max_pool2d(const Variable& input, const Pool2dOptions& options);
Variable avg_pool2d(const Variable& input, const Pool2dOptions& options);
Variable global_avg_pool2d(const Variable& input);
/// The statistics are batch_norm_statistics(x.value()), through which the gradient goes, or with
/// options.training = false constants.
Variable batch_norm(const Variable& x, const BatchStatistics& statistics, const Variable& gamma,
                    const Variable& beta, const BatchNormOptions& options = {});
Variable off_diagonal_square_sum(const Variable& x);
Variable softmax(const Variable& x);
Variable log_softmax(const Variable& x);
/// Each row's loss: [N, classes] and labels [N] -> [N].
Variable softmax_cross_entropy(const Variable& logits, const Tensor& labels, double smoothing = 0);
/// Zeroes elements with probability p, in [0, 1), and scales the others by 1 / (1 - p).
Variable dropout(const Variable& x, double p, Generator& generator);

}  // namespace gradus
