// Batch norm: x [rows, C]. Rows are taken in blocks that fit the second-level cache; sums over the
// blocks are combined in order, in double, so that they do not depend on the number of threads.
#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "tensor/backend/instantiate.h"
#include "tensor/backend/merge_statistics.h"
#include "tensor/backend/range.h"
#include "tensor/cpu/norm/plain_norm.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/scratch.h"

namespace gradus::cpu {
namespace {

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

  std::int64_t count() const { return divide_up(rows_, size_); }
  std::int64_t rows(std::int64_t block) const { return std::min(size_, rows_ - block * size_); }
  /// The first element of a block.
  std::int64_t offset(std::int64_t block) const { return block * size_ * C_; }

  /// Calls function(block) for all blocks, in parallel.
  template <class Function>
  void for_each(const Function& function) const {
    parallel_blocks(count(), 1, [&](std::int64_t block, std::int64_t) { function(block); });
  }

 private:
  /// About 64 Ki elements, and never so many rows that a plain sum loses digits.
  static std::int64_t most_rows(std::int64_t C) {
    constexpr std::int64_t elements = std::int64_t{1} << 16, fewest = 16, most = 1024;
    return std::clamp(elements / std::max<std::int64_t>(C, 1), fewest, most);
  }

  std::int64_t rows_, C_, size_;
};

/// Two sums of each block and channel, [blocks, 2, C].
template <class A>
class BlockSums {
 public:
  BlockSums(const RowBlocks& blocks, std::int64_t C) : C_(C), memory_(blocks.count() * 2 * C) {}

  A* first(std::int64_t block) const { return memory_.data() + block * 2 * C_; }
  A* second(std::int64_t block) const { return first(block) + C_; }

 private:
  std::int64_t C_;
  Scratch<A> memory_;
};

}  // namespace

/// Blocks two-pass, as differences from their first rows, so that no digits are lost where the mean
/// is large; their means and sums of squared deviations are then merged pairwise, after Chan, Golub
/// and LeVeque (1979).
template <class T>
void batch_norm_statistics(const T* x, Compute<T>* mean, Compute<T>* variance, std::int64_t rows,
                           std::int64_t C) {
  using A = Compute<T>;
  const RowBlocks blocks(rows, C);
  const BlockSums<A> sums(blocks, C);
  blocks.for_each([&](std::int64_t block) {
    const T* const from = x + blocks.offset(block);
    const std::vector<A> origin(from, from + C);
    norm_kernels<T>().moments(from, origin.data(), blocks.rows(block), C, sums.first(block),
                              sums.second(block));
  });
  for (std::int64_t c = 0; c < C; ++c) {
    double count = 0, joint_mean = 0, joint_deviations = 0;
    for (std::int64_t block = 0; block < blocks.count(); ++block) {
      const double origin = static_cast<double>(static_cast<A>(x[blocks.offset(block) + c]));
      const double delta = origin + static_cast<double>(sums.first(block)[c]) - joint_mean;
      const auto more = static_cast<double>(blocks.rows(block));
      const double share = more / (count + more);
      joint_mean += delta * share;
      joint_deviations +=
          static_cast<double>(sums.second(block)[c]) + delta * delta * count * share;
      count += more;
    }
    mean[c] = static_cast<A>(joint_mean);
    variance[c] = static_cast<A>(joint_deviations / count);
  }
}

template <class T>
void batch_norm(const T* x, const Compute<T>* mean, const Compute<T>* variance,
                const Compute<T>* gamma, const Compute<T>* beta, const T* residual, bool relu, T* y,
                double eps, std::int64_t rows, std::int64_t C) {
  const auto scale = norm_scales(variance, gamma, eps, C);
  const RowBlocks blocks(rows, C);
  blocks.for_each([&](std::int64_t block) {
    const std::int64_t at = blocks.offset(block);
    norm_kernels<T>().apply(x + at, {mean, scale.data(), beta},
                            residual != nullptr ? residual + at : nullptr, relu, y + at,
                            blocks.rows(block), C);
  });
}

/// With xhat = (x - mean) / sqrt(variance + eps), averages over the batch's rows and g the masked
/// gradient,
///   dx = gamma / sqrt(variance + eps) (g - average(g) - xhat average(g xhat));
/// where the statistics are constants, dx = gamma / sqrt(variance + eps) g.
template <class T>
void batch_norm_backward_sums(const BatchNormBackward<T>& b, Compute<T>* dgamma,
                              Compute<T>* dbeta) {
  using A = Compute<T>;
  const auto scale = norm_scales(b.variance, b.gamma, b.eps, b.C);
  const simd::Normalisation<A> n{b.mean, scale.data(), b.beta};
  const RowBlocks blocks(b.rows, b.C);
  const BlockSums<A> sums(blocks, b.C);
  blocks.for_each([&](std::int64_t block) {
    const std::int64_t at = blocks.offset(block);
    const auto part = [at](auto* array) { return array != nullptr ? array + at : nullptr; };
    norm_kernels<T>().gradient_sums(b.dy + at, part(b.dy2), b.x + at, part(b.y), b.relu, n,
                                    part(b.dresidual), blocks.rows(block), b.C, sums.first(block),
                                    sums.second(block));
  });
  for (std::int64_t c = 0; c < b.C; ++c) {
    double sum_dy = 0, sum_dy_x = 0;
    for (std::int64_t block = 0; block < blocks.count(); ++block) {
      sum_dy += static_cast<double>(sums.first(block)[c]);
      sum_dy_x += static_cast<double>(sums.second(block)[c]);
    }
    dbeta[c] = static_cast<A>(sum_dy);
    dgamma[c] = static_cast<A>(sum_dy_x / std::sqrt(static_cast<double>(b.variance[c]) + b.eps));
  }
}

template <class T>
void batch_norm_backward_input(const BatchNormBackward<T>& b, const Compute<T>* dgamma,
                               const Compute<T>* dbeta, std::int64_t batch_rows) {
  using A = Compute<T>;
  const auto scale = norm_scales(b.variance, b.gamma, b.eps, b.C);
  const simd::Normalisation<A> n{b.mean, scale.data(), b.beta};
  const RowBlocks blocks(b.rows, b.C);
  std::vector<A> dshift(static_cast<std::size_t>(b.C)), slope(dshift);
  for (std::int64_t c = 0; c < b.C && batch_rows > 0; ++c) {
    dshift[c] = dbeta[c] / static_cast<A>(batch_rows);
    slope[c] = dgamma[c] / static_cast<A>(batch_rows) * inverse_deviation(b.variance[c], b.eps);
  }
  const T* const g = b.y != nullptr ? b.dresidual : b.dy;
  blocks.for_each([&](std::int64_t block) {
    const std::int64_t at = blocks.offset(block);
    norm_kernels<T>().input_gradient(g + at, b.x + at, b.relu && b.y == nullptr, n, dshift.data(),
                                     slope.data(), b.dx + at, blocks.rows(block), b.C);
  });
}

template <class T>
void batch_norm_merge_statistics(const T* of_parts, T* mean, T* variance, std::int64_t parts,
                                 std::int64_t C) {
  for (std::int64_t c = 0; c < C; ++c)
    merge_statistics(of_parts + c, parts, C, mean[c], variance[c]);
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

GRADUS_INSTANTIATE_FLOATS(batch_norm_statistics)
GRADUS_INSTANTIATE_FLOATS(batch_norm)
GRADUS_INSTANTIATE_FLOATS(batch_norm_backward_sums)
GRADUS_INSTANTIATE_FLOATS(batch_norm_backward_input)
GRADUS_INSTANTIATE_FLOAT_AND_DOUBLE(batch_norm_merge_statistics)
GRADUS_INSTANTIATE_FLOAT_AND_DOUBLE(batch_norm_track)

}  // namespace gradus::cpu
