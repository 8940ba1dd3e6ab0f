// Batch norm: x [rows, C]. Sums over rows are taken in blocks of rows that fit the second-level
// cache and combined in order, in double, so that they do not depend on the number of threads.
#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "tensor/cpu/parallel.h"
#include "tensor/cpu/plain_norm.h"
#include "tensor/cpu/winograd.h"
#include "tensor/device.h"
#include "tensor/kernels.h"
#include "tensor/tensor.h"

namespace gradus::cpu {
namespace {

/// The passes over a block of rows: vectorised ones for float and bfloat16.
template <class T>
const simd::NormKernels<T>& passes() {
  if constexpr (std::is_same_v<T, double>) {
    return plain::norm_kernels<T>;
  } else {
    return simd::kernels().norm<T>();
  }
}

/// Rows a block: about 64 Ki elements, and never so many that a plain sum loses digits.
std::int64_t rows_per_block(std::int64_t C) {
  constexpr std::int64_t elements = std::int64_t{1} << 16, fewest = 16, most = 1024;
  return std::clamp(elements / std::max<std::int64_t>(C, 1), fewest, most);
}

/// Calls function(offset, rows) for blocks of rows, in parallel; offset counts elements.
template <class Function>
void for_each_block(std::int64_t rows, std::int64_t C, const Function& function) {
  parallel_blocks(rows, rows_per_block(C),
                  [&](std::int64_t begin, std::int64_t end) { function(begin * C, end - begin); });
}

/// Two sums of each block of rows and channel, [blocks, 2, C].
template <class A>
class BlockSums {
 public:
  BlockSums(std::int64_t rows, std::int64_t C)
      : rows_(rows),
        C_(C),
        grain_(rows_per_block(C)),
        blocks_((rows + grain_ - 1) / grain_),
        memory_({blocks_, 2, C}, dtype_of<A>, Device::cpu),
        data_(memory_.data<A>()) {}

  /// Calls function(offset, rows, first, second) for each block of rows, in parallel; it fills the
  /// block's two sums.
  template <class Function>
  void fill(const Function& function) {
    for_each_block(rows_, C_, [&](std::int64_t offset, std::int64_t rows) {
      A* first = data_ + (C_ == 0 ? 0 : offset / C_ / grain_) * 2 * C_;
      function(offset, rows, first, first + C_);
    });
  }

  std::int64_t blocks() const { return blocks_; }
  double rows(std::int64_t block) const {
    return static_cast<double>(std::min(grain_, rows_ - block * grain_));
  }
  double first(std::int64_t block, std::int64_t c) const {
    return static_cast<double>(data_[block * 2 * C_ + c]);
  }
  double second(std::int64_t block, std::int64_t c) const {
    return static_cast<double>(data_[(block * 2 + 1) * C_ + c]);
  }

 private:
  std::int64_t rows_, C_, grain_, blocks_;
  Tensor memory_;
  A* data_;
};

/// 1 / sqrt(variance + eps)
template <class A>
A inverse_deviation(A variance, double eps) {
  return static_cast<A>(1 / std::sqrt(static_cast<double>(variance) + eps));
}

/// gamma / sqrt(variance + eps) of each channel.
template <class A>
std::vector<A> scales(const A* variance, const A* gamma, double eps, std::int64_t C) {
  std::vector<A> scale(static_cast<std::size_t>(C));
  for (std::int64_t c = 0; c < C; ++c) scale[c] = gamma[c] * inverse_deviation(variance[c], eps);
  return scale;
}

}  // namespace

// Of x - x[0], near zero, so that no digits are lost where the mean is large. Blocks two-pass;
// their means and sums of squared deviations are then joined pairwise, after Chan, Golub and
// LeVeque (1979).
template <class T>
void batch_norm_statistics(const T* x, Compute<T>* mean, Compute<T>* variance, std::int64_t rows,
                           std::int64_t C) {
  using A = Compute<T>;
  std::vector<A> origin(x, x + C);
  const auto& kernels = passes<T>();
  BlockSums<A> sums(rows, C);
  sums.fill([&](std::int64_t offset, std::int64_t count, A* block_mean, A* deviations) {
    kernels.moments(x + offset, origin.data(), count, C, block_mean, deviations);
  });
  for (std::int64_t c = 0; c < C; ++c) {
    double count = 0, joint_mean = 0, joint_deviations = 0;
    for (std::int64_t block = 0; block < sums.blocks(); ++block) {
      const double delta = sums.first(block, c) - joint_mean;
      const double share = sums.rows(block) / (count + sums.rows(block));
      joint_mean += delta * share;
      joint_deviations += sums.second(block, c) + delta * delta * count * share;
      count += sums.rows(block);
    }
    mean[c] = static_cast<A>(static_cast<double>(origin[c]) + joint_mean);
    variance[c] = static_cast<A>(joint_deviations / count);
  }
}

template <class T>
void batch_norm(const T* x, const Compute<T>* mean, const Compute<T>* variance,
                const Compute<T>* gamma, const Compute<T>* beta, const T* residual, bool relu, T* y,
                double eps, std::int64_t rows, std::int64_t C) {
  const auto& kernels = passes<T>();
  const auto scale = scales(variance, gamma, eps, C);
  for_each_block(rows, C, [&](std::int64_t offset, std::int64_t count) {
    kernels.apply(x + offset, {mean, scale.data(), beta},
                  residual != nullptr ? residual + offset : nullptr, relu, y + offset, count, C);
  });
}

// With xhat = (x - mean) / sqrt(variance + eps) and averages over rows:
//   dx = gamma / sqrt(variance + eps) (g - average(g) - xhat average(g xhat)),
// g the masked gradient; where the statistics are constants, dx = gamma / sqrt(variance + eps) g.
template <class T>
void batch_norm_backward(const T* dy, const T* x, const T* y, bool relu, const Compute<T>* mean,
                         const Compute<T>* variance, const Compute<T>* gamma,
                         const Compute<T>* beta, T* dx, T* dresidual, Compute<T>* dgamma,
                         Compute<T>* dbeta, double eps, bool training, std::int64_t rows,
                         std::int64_t C) {
  using A = Compute<T>;
  const auto& kernels = passes<T>();
  const auto scale = scales(variance, gamma, eps, C);
  const simd::Normalisation<A> n{mean, scale.data(), beta};
  T* const masked = dresidual != nullptr ? dresidual : dx;
  BlockSums<A> sums(rows, C);
  sums.fill([&](std::int64_t offset, std::int64_t count, A* sum_dy, A* sum_dy_x) {
    kernels.gradient_sums(dy + offset, x + offset, y != nullptr ? y + offset : nullptr, relu, n,
                          masked + offset, count, C, sum_dy, sum_dy_x);
  });
  std::vector<A> dshift(static_cast<std::size_t>(C)), slope(dshift);
  for (std::int64_t c = 0; c < C; ++c) {
    double sum_dy = 0, sum_dy_x = 0;
    for (std::int64_t block = 0; block < sums.blocks(); ++block) {
      sum_dy += sums.first(block, c);
      sum_dy_x += sums.second(block, c);
    }
    dbeta[c] = static_cast<A>(sum_dy);
    dgamma[c] = static_cast<A>(sum_dy_x / std::sqrt(static_cast<double>(variance[c]) + eps));
    if (!training) continue;
    dshift[c] = dbeta[c] / static_cast<A>(rows);
    slope[c] = dgamma[c] / static_cast<A>(rows) * inverse_deviation(variance[c], eps);
  }
  const T* g = relu && y != nullptr ? masked : dy;
  for_each_block(rows, C, [&](std::int64_t offset, std::int64_t count) {
    kernels.input_gradient(g + offset, x + offset, relu && y == nullptr, n, dshift.data(),
                           slope.data(), dx + offset, count, C);
  });
}

// --- batch norm, ReLU and convolution: in one pass over x where Winograd's algorithm is taken ----

/// relu(batch_norm(x)), for convolutions that read plain images.
template <class T>
static Tensor activation(const T* x, const Compute<T>* mean, const Compute<T>* variance,
                         const Compute<T>* gamma, const Compute<T>* beta, double eps,
                         const Conv2dGeometry& g) {
  Tensor y({g.N, g.H, g.W, g.C}, dtype_of<T>, Device::cpu);
  batch_norm<T>(x, mean, variance, gamma, beta, nullptr, true, y.data<T>(), eps, g.N * g.H * g.W,
                g.C);
  return y;
}

template <class T>
void batch_norm_relu_conv2d(const T* x, const Compute<T>* mean, const Compute<T>* variance,
                            const Compute<T>* gamma, const Compute<T>* beta, double eps,
                            const Compute<T>* weight, T* output, const Conv2dGeometry& g) {
  if constexpr (!std::is_same_v<T, double>) {
    if (const int side = winograd::side_for(g)) {
      const auto scale = scales(variance, gamma, eps, g.C);
      const simd::Normalisation<float> n{mean, scale.data(), beta};
      return winograd::conv2d<T>(x, &n, weight, nullptr, output, g, side);
    }
  }
  const Tensor y = activation<T>(x, mean, variance, gamma, beta, eps, g);
  conv2d<T>(y.data<T>(), weight, nullptr, output, g);
}

template <class T>
void batch_norm_relu_conv2d_backward_weight(const T* x, const Compute<T>* mean,
                                            const Compute<T>* variance, const Compute<T>* gamma,
                                            const Compute<T>* beta, double eps, const T* doutput,
                                            Compute<T>* dweight, const Conv2dGeometry& g) {
  if constexpr (!std::is_same_v<T, double>) {
    if (const int side = winograd::side_for(g)) {
      const auto scale = scales(variance, gamma, eps, g.C);
      const simd::Normalisation<float> n{mean, scale.data(), beta};
      return winograd::conv2d_backward_weight<T>(x, &n, doutput, dweight, g, side);
    }
  }
  const Tensor y = activation<T>(x, mean, variance, gamma, beta, eps, g);
  conv2d_backward_weight<T>(y.data<T>(), doutput, dweight, g);
}

template <class T>
void batch_norm_track(T* running_mean, T* running_var, std::int64_t* count, const T* batch_mean,
                      const T* batch_var, double momentum, double unbiased, std::int64_t C) {
  const T keep = static_cast<T>(1 - momentum), mean_share = static_cast<T>(momentum),
          var_share = static_cast<T>(momentum * unbiased);
  for (std::int64_t c = 0; c < C; ++c) {
    running_mean[c] = keep * running_mean[c] + mean_share * batch_mean[c];
    running_var[c] = keep * running_var[c] + var_share * batch_var[c];
  }
  ++*count;
}

#define GRADUS_INSTANTIATE(T)                                                                    \
  template void batch_norm_statistics<T>(const T*, Compute<T>*, Compute<T>*, std::int64_t,       \
                                         std::int64_t);                                          \
  template void batch_norm<T>(const T*, const Compute<T>*, const Compute<T>*, const Compute<T>*, \
                              const Compute<T>*, const T*, bool, T*, double, std::int64_t,       \
                              std::int64_t);                                                     \
  template void batch_norm_backward<T>(const T*, const T*, const T*, bool, const Compute<T>*,    \
                                       const Compute<T>*, const Compute<T>*, const Compute<T>*,  \
                                       T*, T*, Compute<T>*, Compute<T>*, double, bool,           \
                                       std::int64_t, std::int64_t);                              \
  template void batch_norm_relu_conv2d<T>(const T*, const Compute<T>*, const Compute<T>*,        \
                                          const Compute<T>*, const Compute<T>*, double,          \
                                          const Compute<T>*, T*, const Conv2dGeometry&);         \
  template void batch_norm_relu_conv2d_backward_weight<T>(                                       \
      const T*, const Compute<T>*, const Compute<T>*, const Compute<T>*, const Compute<T>*,      \
      double, const T*, Compute<T>*, const Conv2dGeometry&);
GRADUS_INSTANTIATE(float)
GRADUS_INSTANTIATE(double)
GRADUS_INSTANTIATE(BFloat16)
#undef GRADUS_INSTANTIATE
template void batch_norm_track<float>(float*, float*, std::int64_t*, const float*, const float*,
                                      double, double, std::int64_t);
template void batch_norm_track<double>(double*, double*, std::int64_t*, const double*,
                                       const double*, double, double, std::int64_t);

}  // namespace gradus::cpu
