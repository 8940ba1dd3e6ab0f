// The operations on tensors: pure functions, no autograd (autograd/ops.h has the same names on
// Variables). Each checks its arguments once and throws gradus::Error on bad ones.
//
// Notation: N batch, H W height and width, C channels, O output channels. Images are [N, H, W, C],
// convolution weights [O, kH, kW, C / groups]. Floating means float32, float64 or bfloat16, which
// is stored only: arithmetic is done in float32. The inputs of an op have one dtype and lie on one
// device, but for row numbers and labels, which the op moves. Where an op takes bfloat16
// activations, parameters, statistics and their gradients beside them are float32. A result has
// the inputs' type and device, and of elementwise ops their shape, unless its docstring says
// otherwise. Negative axes count from the end. dy is the gradient with respect to a result y, and
// doutput that with respect to a result called output.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include <gradus/tensor/random.h>
#include <gradus/tensor/size2.h>
#include <gradus/tensor/tensor.h>

namespace gradus {

class Communicator;  // tensor/communicator.h

// --- Elementwise, one input (floating) ------------------------------------------------------
/// scale * x + shift; a shift of -0.0 changes no number, not even -0
Tensor affine(const Tensor& x, double scale, double shift);
/// -x
Tensor neg(const Tensor& x);
/// e^x
Tensor exp(const Tensor& x);
/// ln x: NaN for x < 0.
Tensor log(const Tensor& x);
/// The square root: NaN for x < 0.
Tensor sqrt(const Tensor& x);
/// x^2
Tensor square(const Tensor& x);
/// x^exponent: NaN for x < 0 unless the exponent is an integer.
Tensor pow(const Tensor& x, double exponent);
/// |x|
Tensor abs(const Tensor& x);
/// min(max(x, low), high); low <= high. NaN stays NaN, as in relu and leaky_relu.
Tensor clamp(const Tensor& x, double low, double high);
/// max(x, 0)
Tensor relu(const Tensor& x);
/// x > 0 ? x : slope x; the slope is finite.
Tensor leaky_relu(const Tensor& x, double slope = 0.01);
/// 1 / (1 + exp(-x))
Tensor sigmoid(const Tensor& x);
/// (e^x - e^-x) / (e^x + e^-x)
Tensor tanh(const Tensor& x);
/// x Phi(x) with the exact normal distribution function (erf).
Tensor gelu(const Tensor& x);

// --- Elementwise, two inputs, broadcasting (equal sizes or 1, aligned at the last axis) -------
// The result has the shape that the inputs broadcast to; those that do not are an Error. Floating,
// but for comparisons.
/// a + b
Tensor add(const Tensor& a, const Tensor& b);
/// a - b
Tensor sub(const Tensor& a, const Tensor& b);
/// a b
Tensor mul(const Tensor& a, const Tensor& b);
/// a / b
Tensor div(const Tensor& a, const Tensor& b);
/// x / divisor, one rounding: no detour by 1 / divisor, which may leave the range.
Tensor div(const Tensor& x, double divisor);
/// The larger of a and b; NaN if either is.
Tensor maximum(const Tensor& a, const Tensor& b);
/// The smaller of a and b; NaN if either is.
Tensor minimum(const Tensor& a, const Tensor& b);
/// Comparisons, of any dtype, give a uint8 mask: 1 where a == b, a != b, a < b, a <= b, a > b or
/// a >= b holds, and 0 elsewhere. NaN compares as in C++: it only is not_equal, to everything.
Tensor equal(const Tensor& a, const Tensor& b);
Tensor not_equal(const Tensor& a, const Tensor& b);
Tensor less(const Tensor& a, const Tensor& b);
Tensor less_equal(const Tensor& a, const Tensor& b);
Tensor greater(const Tensor& a, const Tensor& b);
Tensor greater_equal(const Tensor& a, const Tensor& b);
/// condition ? a : b, elementwise; condition is uint8, all three broadcast together.
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);

/// The ops above as operators; a number is taken with every element.
inline Tensor operator+(const Tensor& a, const Tensor& b) { return add(a, b); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return sub(a, b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return mul(a, b); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return div(a, b); }
inline Tensor operator+(const Tensor& a, double b) { return affine(a, 1, b); }
inline Tensor operator-(const Tensor& a, double b) { return affine(a, 1, -b); }
inline Tensor operator*(const Tensor& a, double b) { return affine(a, b, -0.0); }
inline Tensor operator/(const Tensor& a, double b) { return div(a, b); }
inline Tensor operator+(double a, const Tensor& b) { return affine(b, 1, a); }
inline Tensor operator-(double a, const Tensor& b) { return affine(b, -1, a); }
inline Tensor operator*(double a, const Tensor& b) { return b * a; }
inline Tensor operator-(const Tensor& a) { return neg(a); }

/// into += scale * x, in place; same shape and dtype, floating.
void add_scaled(Tensor& into, const Tensor& x, double scale = 1);
/// Whether no element of x (floating) is NaN or infinite; waits for the device.
bool all_finite(const Tensor& x);

// --- Shape ------------------------------------------------------------------------------------
/// A copy with axes reordered: output axis i is input axis axes[i]; each must be named once.
Tensor permute(const Tensor& x, std::span<const int> axes);
Tensor permute(const Tensor& x, std::initializer_list<int> axes);
/// A copy with two axes exchanged, the last two unless others are named.
Tensor transpose(const Tensor& x, int axis0 = -2, int axis1 = -1);
/// A copy broadcast to a larger shape, which must fit; x itself if it has that shape.
Tensor broadcast_to(const Tensor& x, const Shape& shape);
/// The sum of x over the axes along which `shape` was broadcast: the adjoint of broadcast_to; x
/// itself if it has that shape. Floating.
Tensor sum_to(const Tensor& x, const Shape& shape);
/// The tensors, at least one, one after another along an axis; other sizes must match.
Tensor concat(std::span<const Tensor> tensors, int axis = 0);
Tensor concat(std::initializer_list<Tensor> tensors, int axis = 0);
/// Elements [begin, end) of an axis, 0 <= begin <= end <= its size: a view for the leading axis,
/// otherwise a copy.
Tensor slice(const Tensor& x, int axis, std::int64_t begin, std::int64_t end);
/// The adjoint of slice: dy at [begin, end) of an axis of `shape`, zeros elsewhere.
Tensor slice_backward(const Tensor& dy, const Shape& shape, int axis, std::int64_t begin);
/// Rows x[index[i]]; x [R, ...], index int64 [n] with values in [0, R) -> [n, ...]. Other values
/// are an Error, in the two ops below, too; on a GPU looking for them waits for it.
Tensor gather_rows(const Tensor& x, const Tensor& index);
/// The adjoint of gather_rows: dy [n, ...], floating -> [rows, ...], zeros with dy[i] added to row
/// index[i]; index int64 [n] with values in [0, rows).
Tensor scatter_add_rows(const Tensor& dy, const Tensor& index, std::int64_t rows);
/// [n, classes] with 1 at [i, index[i]] and 0 elsewhere; index int64 [n], values in [0, classes).
/// With a dtype alone it lies on the index's device.
Tensor one_hot(const Tensor& index, std::int64_t classes, TensorOptions options);
Tensor one_hot(const Tensor& index, std::int64_t classes, DType dtype = DType::float32);
/// The identity matrix [n, n].
Tensor eye(std::int64_t n, TensorOptions options = {});

// --- Reductions over a set of axes ({} is all), floating ---------------------------------------
// The axes leave the shape or, with keep_axes, stay in it with size 1. bfloat16 is summed in
// float32 and rounded once, at the end.
/// The sum over the axes; 0 over no elements.
Tensor sum(const Tensor& x, Axes axes = {}, bool keep_axes = false);
/// The sum over the axes divided by their n elements; NaN over none.
Tensor mean(const Tensor& x, Axes axes = {}, bool keep_axes = false);
struct VarianceOptions {
  double correction = 1;
  bool keep_axes = false;
};
/// sum (x - mean)^2 / (n - correction) over the axes' n elements, in two passes; NaN where
/// n <= correction.
Tensor variance(const Tensor& x, Axes axes = {}, VarianceOptions options = {});
/// Largest elements, and where each first occurs: an int64 index that the function explains. NaN
/// counts as the largest.
struct MaxResult {
  Tensor values, indices;
};
/// The largest element over the axes; indices count the elements of the reduced axes, row-major. An
/// Error over no elements.
MaxResult max(const Tensor& x, Axes axes = {}, bool keep_axes = false);
/// The gradient of max over `axes` of an input of `shape`: dy at each maximum, zeros elsewhere.
Tensor max_backward(const Tensor& dy, const Tensor& indices, const Shape& shape, Axes axes);
/// Index of the first largest element along an axis, which leaves the shape; int64, as by max.
Tensor argmax(const Tensor& x, int axis);

// --- Matrices (floating) -----------------------------------------------------------------------
/// What matmul computes besides the plain product.
struct MatmulOptions {
  bool transpose_a = false;                ///< a is given as [k, m]
  bool transpose_b = false;                ///< b is given as [n, k]
  double scale = 1;                        ///< of the product
  std::optional<DType> output_dtype = {};  ///< the inputs' if not given; float32 for bfloat16 ones
  bool symmetric = false;  ///< the caller knows that the product is; half of it may be computed
};
/// scale op(a) op(b), op = transpose where asked for: [m, k] [k, n] -> [m, n], or batched, with
/// equal leading axis: [B, m, k] [B, k, n] -> [B, m, n]. bfloat16 is summed in float32.
Tensor matmul(const Tensor& a, const Tensor& b, MatmulOptions options = {});

/// What logdet computes of one matrix [n, n], or each matrix of a batch [B, n, n].
struct LogDet {
  Tensor value;    ///< log det x: [] or [B]
  Tensor inverse;  ///< x^-1, in the shape of x: the gradient of the value
};
/// x is symmetric (the upper triangle is read), positive definite, float32 or float64. Cholesky's
/// factorisation x = U^T U in float64, so that a float32 result keeps its digits up to condition
/// numbers of 1e10: log det x = 2 sum log U_ii. A finite x that is not positive definite is an
/// Error on the CPU and NaN on a GPU, where looking would make the host wait.
LogDet logdet(const Tensor& x);

// --- Convolution and pooling (floating) -------------------------------------------------------
/// How the kernel of a convolution moves over the image: see conv2d.
struct Conv2dOptions {
  Size2 stride = 1;         ///< pixels from one output to the next, at least 1
  Size2 padding = 0;        ///< rows or columns of zeros on each side
  Size2 dilation = 1;       ///< pixels from one tap of the kernel to the next, at least 1
  std::int64_t groups = 1;  ///< equal parts of the channels, each convolved by itself
  /// Whether 3x3 kernels may be Winograd's, where that is faster (float32; bfloat16 on the CPU,
  /// float64 on a GPU): with tiles of 4x4 outputs, which take a quarter of the multiplications, or
  /// on the CPU with stride 2 a like scheme with 81 of 144.
  ///
  /// The rounding error of a plain sum is relative to what an output sees. Winograd's is relative
  /// to the largest input M of the output's whole tile, 6x6 pixels of all channels: up to about
  /// 2^-24 175 M S, with S the sum of the output's |weights| (175 is the largest
  /// sum_ef |A_kf G_fj B_fe| of tensor/backend/winograd_matrices.h, squared; where one input is far
  /// above all others 38, the largest sum_f). One input far above its neighbours thus blurs outputs
  /// that do not see it, and one that is not finite, or whose transform overflows, makes all
  /// outputs of its tiles NaN.
  bool winograd = true;
};
/// y[n,p,q,o] = bias[o] + sum_{r,s,c} x[n, p stride + r dilation - padding, ..., c] w[o,r,s,c].
/// input [N,H,W,C], weight [O,kH,kW,C/groups], bias [O] or undefined -> [N,H',W',O], with
/// H' = (H + 2 padding - dilation (kH - 1) - 1) / stride + 1, rounded down, and W' alike. With
/// groups, an output channel sums over the input channels of its own group. input, output and their
/// gradients may be bfloat16. Channels that do not fit and a kernel larger than the padded image
/// are an Error.
Tensor conv2d(const Tensor& input, const Tensor& weight, const Tensor& bias = {},
              const Conv2dOptions& options = {});
/// dL/dinput, in the input's shape, for doutput = dL/doutput [N,H',W',O].
Tensor conv2d_backward_input(const Tensor& doutput, const Tensor& weight, const Shape& input_shape,
                             const Conv2dOptions& options = {});
/// dL/dweight, in the weight's shape, for doutput = dL/doutput; float32 for bfloat16 activations.
Tensor conv2d_backward_weight(const Tensor& doutput, const Tensor& input, const Shape& weight_shape,
                              const Conv2dOptions& options = {});

/// Windows of [N, H, W, C] -> [N, H', W', C], H' = (H + 2 padding - kernel) / stride + 1, rounded
/// down, and W' alike. A window larger than the padded image is an Error.
struct Pool2dOptions {
  Size2 kernel = 2;               ///< pixels of a window
  Size2 stride = 0;               ///< pixels from one window to the next; 0: the kernel's
  Size2 padding = 0;              ///< pixels on each side; at most half the kernel
  bool count_include_pad = true;  ///< of avg_pool2d: whether padding counts
};
/// Largest element of each window; padding never wins. indices: int64, h * W + w in the input, of
/// the first of equal ones.
MaxResult max_pool2d(const Tensor& input, const Pool2dOptions& options);
/// The adjoint: each doutput added at its window's largest element.
Tensor max_pool2d_backward(const Tensor& doutput, const Tensor& indices, const Shape& input_shape,
                           const Pool2dOptions& options);
/// Mean of each window, in which padding counts as zeros or, without count_include_pad, not at all.
Tensor avg_pool2d(const Tensor& input, const Pool2dOptions& options);
/// The adjoint: each doutput, divided by the number of pixels that its mean counted, added at them.
Tensor avg_pool2d_backward(const Tensor& doutput, const Shape& input_shape,
                           const Pool2dOptions& options);
/// Mean over H and W: [N, H, W, C] -> [N, C].
Tensor global_avg_pool2d(const Tensor& input);

// --- Normalisation and softmax (floating) ------------------------------------------------------
// Batch norm takes bfloat16 activations too (x, y), beside float32 for all of size [C]. A row is
// the C values at one place of the other axes.
/// Mean and variance of each channel.
struct BatchStatistics {
  Tensor mean, variance;  ///< [C] each; the variance is biased (divides by the number of rows)
};
/// Statistics of each channel over all other axes; x [..., C] of at least two axes and one row.
BatchStatistics batch_norm_statistics(const Tensor& x);
/// Statistics of a batch of which every member of a group has an equal part, from those of the
/// parts: mean = average(mean_r), variance = average(variance_r + (mean_r - mean)^2) over members r
/// in the order of ranks. Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for
/// computing sample variances", 1979.
BatchStatistics merge_statistics(const BatchStatistics& own, Communicator& communicator);

/// How batch_norm reads its statistics.
struct BatchNormOptions {
  double eps = 1e-5;  ///< added to the variance; finite, not negative
  /// Whether the statistics are x's own, so that they depend on it, or constants: the gradients
  /// differ.
  bool training = true;
  /// The group whose members have the other, equal parts of the batch that the statistics are of;
  /// null where x is all of it. dgamma and dbeta are of this part.
  Communicator* communicator = nullptr;
};
/// (x - mean) / sqrt(variance + eps) * gamma + beta; x [..., C], the others [C].
Tensor batch_norm(const Tensor& x, const BatchStatistics& statistics, const Tensor& gamma,
                  const Tensor& beta, const BatchNormOptions& options = {});
/// dL/d each input for dy = dL/dy. With xhat = (x - mean) / std, std = sqrt(variance + eps), and
/// sums and means over the rows:
///   dbeta = sum dy,  dgamma = sum dy xhat
///   dx = gamma / std (dy - mean(dy) - xhat mean(dy xhat)) in training, else gamma / std dy
/// dx takes the memory of a dy that has no other handle.
struct BatchNormGradients {
  Tensor dx, dgamma, dbeta;
};
BatchNormGradients batch_norm_backward(Tensor dy, const Tensor& x,
                                       const BatchStatistics& statistics, const Tensor& gamma,
                                       const BatchNormOptions& options = {});
/// Moves running statistics towards those of a batch of `rows` >= 2 values a channel, in place, and
/// counts the batch in num_batches (int64, []); momentum in [0, 1]:
///   running_mean = (1 - momentum) running_mean + momentum batch.mean
///   running_var = (1 - momentum) running_var + momentum batch.variance rows / (rows - 1)
void batch_norm_track(Tensor& running_mean, Tensor& running_var, Tensor& num_batches,
                      const BatchStatistics& batch, std::int64_t rows, double momentum);

/// sum_{i != j} x_ij^2 of all square matrices in x [..., n, n] -> []; float32 for bfloat16.
Tensor off_diagonal_square_sum(const Tensor& x);
/// 2 dy x_ij off their diagonals, 0 on them; dy [].
Tensor off_diagonal_square_sum_backward(const Tensor& dy, const Tensor& x);

/// Over the last axis, which x must have: exp(x - max) / sum exp(x - max).
Tensor softmax(const Tensor& x);
/// y (dy - sum dy y), with y = softmax(x).
Tensor softmax_backward(const Tensor& dy, const Tensor& y);
/// Over the last axis, which x must have: x - max - log sum exp(x - max).
Tensor log_softmax(const Tensor& x);
/// dy - exp(y) sum dy, with y = log_softmax(x).
Tensor log_softmax_backward(const Tensor& dy, const Tensor& y);

/// Softmax cross-entropy of each row, in the compute type (float32 for bfloat16 logits): losses_i =
/// -sum_c t_ic log softmax(logits)_ic, t_ic = (1 - smoothing) [c = label_i] + smoothing / classes;
/// logits [N, classes], labels int64 [N] in [0, classes), smoothing in [0, 1]. Other labels are an
/// Error where they or the logits lie on the CPU, and a loss of NaN where both lie on a GPU.
Tensor softmax_cross_entropy(const Tensor& logits, const Tensor& labels, double smoothing = 0);
/// dlogits_ic = dlosses_i (softmax(logits)_ic - t_ic); the labels on the device of the logits.
Tensor softmax_cross_entropy_backward(const Tensor& dlosses, const Tensor& logits,
                                      const Tensor& labels, double smoothing = 0);

/// Elements, floating, that are 0 with probability p, else 1 / (1 - p); 0 <= p < 1. Dropout is x
/// times this mask.
Tensor dropout_mask(const Shape& shape, double p, Generator& generator, TensorOptions options = {});

}  // namespace gradus
