// Batch norm's sums over the rows of x [rows, C]: taken in blocks of rows that fit the second-level
// cache and combined in order, in double, so that they do not depend on the number of threads.
// Blocks may be taken in any order, by any thread: by a convolution, say, that has just written
// them. Internal to the CPU's norm*.cpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include <gradus/tensor/tensor.h>
#include "tensor/cpu/norm/plain_norm.h"

namespace gradus::cpu {

/// The passes over a block of rows: vectorised ones for float and bfloat16.
template <class T>
const simd::NormKernels<T>& norm_kernels() {
  if constexpr (std::is_same_v<T, double>) {
    return plain::norm_kernels<T>;
  } else {
    return simd::kernels().norm<T>();
  }
}

/// 1 / sqrt(variance + eps)
template <class A>
A inverse_deviation(A variance, double eps) {
  return static_cast<A>(1 / std::sqrt(static_cast<double>(variance) + eps));
}

/// gamma / sqrt(variance + eps) of each channel.
template <class A>
std::vector<A> norm_scales(const A* variance, const A* gamma, double eps, std::int64_t C) {
  std::vector<A> scale(static_cast<std::size_t>(C));
  for (std::int64_t c = 0; c < C; ++c) scale[c] = gamma[c] * inverse_deviation(variance[c], eps);
  return scale;
}

/// The blocks of x's rows.
class RowBlocks {
 public:
  RowBlocks(std::int64_t rows, std::int64_t C) : rows_(rows), C_(C), size_(most_rows(C)) {}

  std::int64_t count() const { return (rows_ + size_ - 1) / size_; }
  /// Of all blocks but the last, which may have fewer: about 64 Ki elements, and never so many that
  /// a plain sum loses digits.
  std::int64_t size() const { return size_; }
  std::int64_t rows(std::int64_t block) const { return std::min(size_, rows_ - block * size_); }
  /// The first element of a block.
  std::int64_t offset(std::int64_t block) const { return block * size_ * C_; }

 private:
  static std::int64_t most_rows(std::int64_t C) {
    constexpr std::int64_t elements = std::int64_t{1} << 16, fewest = 16, most = 1024;
    return std::clamp(elements / std::max<std::int64_t>(C, 1), fewest, most);
  }

  std::int64_t rows_, C_, size_;
};

/// Calls function(block) for all blocks, in parallel.
template <class Function>
void for_each_block(const RowBlocks& blocks, const Function& function) {
  const std::int64_t count = blocks.count();
#pragma omp parallel for schedule(static) if (count > 1)
  for (std::int64_t block = 0; block < count; ++block) function(block);
}

/// Two sums of each block and channel, [blocks, 2, C].
template <class A>
class BlockSums {
 public:
  BlockSums(const RowBlocks& blocks, std::int64_t C)
      : C_(C),
        memory_({blocks.count(), 2, C}, dtype_of<A>, Device::cpu),
        data_(memory_.data<A>()) {}

  A* first(std::int64_t block) const { return data_ + block * 2 * C_; }
  A* second(std::int64_t block) const { return first(block) + C_; }

 private:
  std::int64_t C_;
  Tensor memory_;
  A* data_;
};

/// Mean and variance of each channel. Blocks two-pass, as differences from their first rows, so
/// that no digits are lost where the mean is large; their means and sums of squared deviations are
/// then joined pairwise, after Chan, Golub and LeVeque (1979).
template <class T>
class Moments {
 public:
  using A = Compute<T>;

  Moments(const T* x, std::int64_t rows, std::int64_t C)
      : x_(x), C_(C), blocks_(rows, C), sums_(blocks_, C) {}

  const RowBlocks& blocks() const { return blocks_; }

  void add(std::int64_t block) const {
    const T* const x = x_ + blocks_.offset(block);
    const std::vector<A> origin(x, x + C_);
    norm_kernels<T>().moments(x, origin.data(), blocks_.rows(block), C_, sums_.first(block),
                              sums_.second(block));
  }

  /// Once all blocks were added.
  void finish(A* mean, A* variance) const {
    for (std::int64_t c = 0; c < C_; ++c) {
      double rows = 0, joint_mean = 0, joint_deviations = 0;
      for (std::int64_t block = 0; block < blocks_.count(); ++block) {
        const double origin = static_cast<double>(static_cast<A>(x_[blocks_.offset(block) + c]));
        const double delta = origin + static_cast<double>(sums_.first(block)[c]) - joint_mean;
        const auto more = static_cast<double>(blocks_.rows(block));
        const double share = more / (rows + more);
        joint_mean += delta * share;
        joint_deviations +=
            static_cast<double>(sums_.second(block)[c]) + delta * delta * rows * share;
        rows += more;
      }
      mean[c] = static_cast<A>(joint_mean);
      variance[c] = static_cast<A>(joint_deviations / rows);
    }
  }

 private:
  const T* x_;
  std::int64_t C_;
  RowBlocks blocks_;
  BlockSums<A> sums_;
};

/// What batch_norm_backward (tensor/backend/kernels.inc) is given.
template <class T>
struct NormGradientInputs {
  using A = Compute<T>;

  const T *dy, *x, *y;
  bool relu;
  const A *mean, *variance, *gamma, *beta;
  double eps;
  bool training;
  std::int64_t rows, C;
};

/// The gradients of batch norm. With xhat = (x - mean) / sqrt(variance + eps), averages over rows
/// and g the masked gradient,
///   dx = gamma / sqrt(variance + eps) (g - average(g) - xhat average(g xhat));
/// where the statistics are constants, dx = gamma / sqrt(variance + eps) g.
template <class T>
class NormGradient {
 public:
  using A = Compute<T>;

  /// `masked` takes g where y is given and relu is.
  NormGradient(const NormGradientInputs<T>& in, T* masked)
      : in_(in),
        masked_(masked),
        scale_(norm_scales(in.variance, in.gamma, in.eps, in.C)),
        n_{in.mean, scale_.data(), in.beta},
        blocks_(in.rows, in.C),
        sums_(blocks_, in.C) {}

  const RowBlocks& blocks() const { return blocks_; }

  void add(std::int64_t block) const {
    const std::int64_t at = blocks_.offset(block);
    norm_kernels<T>().gradient_sums(
        in_.dy + at, in_.x + at, in_.y != nullptr ? in_.y + at : nullptr, in_.relu, n_,
        masked_ + at, blocks_.rows(block), in_.C, sums_.first(block), sums_.second(block));
  }

  /// Once all blocks were added. dx may be dy.
  void finish(T* dx, A* dgamma, A* dbeta) const {
    std::vector<A> dshift(static_cast<std::size_t>(in_.C)), slope(dshift);
    for (std::int64_t c = 0; c < in_.C; ++c) {
      double sum_dy = 0, sum_dy_x = 0;
      for (std::int64_t block = 0; block < blocks_.count(); ++block) {
        sum_dy += static_cast<double>(sums_.first(block)[c]);
        sum_dy_x += static_cast<double>(sums_.second(block)[c]);
      }
      dbeta[c] = static_cast<A>(sum_dy);
      dgamma[c] =
          static_cast<A>(sum_dy_x / std::sqrt(static_cast<double>(in_.variance[c]) + in_.eps));
      if (!in_.training) continue;
      const A rows = static_cast<A>(in_.rows);
      dshift[c] = dbeta[c] / rows;
      slope[c] = dgamma[c] / rows * inverse_deviation(in_.variance[c], in_.eps);
    }
    const T* const g = in_.relu && in_.y != nullptr ? masked_ : in_.dy;
    for_each_block(blocks_, [&](std::int64_t block) {
      const std::int64_t at = blocks_.offset(block);
      norm_kernels<T>().input_gradient(g + at, in_.x + at, in_.relu && in_.y == nullptr, n_,
                                       dshift.data(), slope.data(), dx + at, blocks_.rows(block),
                                       in_.C);
    });
  }

 private:
  NormGradientInputs<T> in_;
  T* masked_;
  std::vector<A> scale_;
  simd::Normalisation<A> n_;
  RowBlocks blocks_;
  BlockSums<A> sums_;
};

}  // namespace gradus::cpu
