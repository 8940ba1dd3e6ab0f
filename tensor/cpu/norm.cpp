// Batch norm: x [rows, C]. Sums over rows are taken in blocks of rows that fit the second-level
// cache and combined in order, in double, so that they do not depend on the number of threads.
#include <algorithm>
#include <cmath>
#include <limits>

#include "tensor/cpu/parallel.h"
#include "tensor/kernels.h"
#include "tensor/tensor.h"

namespace gradus::cpu {
namespace {

/// Rows a block: about 64 Ki elements, and never so many that a plain sum loses digits.
std::int64_t rows_per_block(std::int64_t C) {
  constexpr std::int64_t elements = std::int64_t{1} << 16, fewest = 16, most = 1024;
  return std::clamp(elements / std::max<std::int64_t>(C, 1), fewest, most);
}

/// sum[c] = sum of term(row, c) over rows [begin, end), four rows at a time.
template <class T, class Term>
void sum_block(std::int64_t begin, std::int64_t end, std::int64_t C, T* sum, const Term& term) {
  std::fill_n(sum, C, T(0));
  std::int64_t row = begin;
  for (; row + 4 <= end; row += 4) {
#pragma omp simd
    for (std::int64_t c = 0; c < C; ++c) {
      sum[c] += (term(row, c) + term(row + 1, c)) + (term(row + 2, c) + term(row + 3, c));
    }
  }
  for (; row < end; ++row) {
#pragma omp simd
    for (std::int64_t c = 0; c < C; ++c) sum[c] += term(row, c);
  }
}

/// Two sums of each block of rows and channel, [blocks, 2, C].
template <class T>
class BlockSums {
 public:
  BlockSums(std::int64_t rows, std::int64_t C)
      : rows_(rows),
        C_(C),
        grain_(rows_per_block(C)),
        blocks_((rows + grain_ - 1) / grain_),
        memory_({blocks_, 2, C}, dtype_of<T>, Device::cpu),
        data_(memory_.data<T>()) {}

  /// Calls function(begin, end, first, second) for each block of rows, in parallel; it fills the
  /// block's two sums.
  template <class Function>
  void fill(const Function& function) {
    parallel_blocks(rows_, grain_, [&](std::int64_t begin, std::int64_t end) {
      T* first = data_ + begin / grain_ * 2 * C_;
      function(begin, end, first, first + C_);
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
  T* data_;
};

/// 1 / sqrt(variance + eps)
template <class T>
T inverse_deviation(T variance, double eps) {
  return static_cast<T>(1 / std::sqrt(static_cast<double>(variance) + eps));
}

/// g = dy where y > 0, else 0, for elements [begin, end).
template <class T>
void mask_gradient(const T* dy, const T* y, T* g, std::int64_t begin, std::int64_t end) {
#pragma omp simd
  for (std::int64_t i = begin; i < end; ++i) g[i] = Compute<T>(y[i]) > 0 ? dy[i] : T(0);
}

/// dbeta = sum dy and dgamma = sum dy (x - mean) / sqrt(variance + eps), over rows. With relu, dy
/// is first masked into `masked`, block by block, while it is in the cache.
template <class T>
void parameter_gradients(const T* dy, const T* x, const T* y, const Compute<T>* mean,
                         const Compute<T>* variance, T* masked, Compute<T>* dgamma,
                         Compute<T>* dbeta, double eps, std::int64_t rows, std::int64_t C) {
  using A = Compute<T>;
  BlockSums<A> sums(rows, C);
  sums.fill([&](std::int64_t begin, std::int64_t end, A* sum_dy, A* sum_dy_x) {
    if (y != nullptr) mask_gradient(dy, y, masked, begin * C, end * C);
    const T* g = y != nullptr ? masked : dy;
    sum_block(begin, end, C, sum_dy, [&](auto row, auto c) { return A(g[row * C + c]); });
    sum_block(begin, end, C, sum_dy_x,
              [&](auto row, auto c) { return A(g[row * C + c]) * (A(x[row * C + c]) - mean[c]); });
  });
  for (std::int64_t c = 0; c < C; ++c) {
    double sum_dy = 0, sum_dy_x = 0;
    for (std::int64_t block = 0; block < sums.blocks(); ++block) {
      sum_dy += sums.first(block, c);
      sum_dy_x += sums.second(block, c);
    }
    dbeta[c] = static_cast<A>(sum_dy);
    dgamma[c] = static_cast<A>(sum_dy_x / std::sqrt(static_cast<double>(variance[c]) + eps));
  }
}

/// Calls function(offset) for the first element of each row, in parallel.
template <class Function>
void for_each_row(std::int64_t rows, std::int64_t C, const Function& function) {
  parallel_blocks(rows, rows_per_block(C), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) function(row * C);
  });
}

/// An array of `C` elements of scratch memory.
template <class T>
Tensor channel_array(std::int64_t C) {
  return Tensor({C}, dtype_of<T>, Device::cpu);
}

}  // namespace

// Of x - x[0], near zero, so that no digits are lost where the mean is large. Blocks two-pass;
// their means and sums of squared deviations are then joined pairwise, after Chan, Golub and
// LeVeque (1979).
template <class T>
void batch_norm_statistics(const T* x, Compute<T>* mean, Compute<T>* variance, std::int64_t rows,
                           std::int64_t C) {
  using A = Compute<T>;
  BlockSums<A> sums(rows, C);
  const auto shifted = [=](std::int64_t row, std::int64_t c) {
    return A(x[row * C + c]) - A(x[c]);
  };
  sums.fill([&](std::int64_t begin, std::int64_t end, A* block_mean, A* deviations) {
    sum_block(begin, end, C, block_mean, shifted);
    for (std::int64_t c = 0; c < C; ++c) block_mean[c] /= static_cast<A>(end - begin);
    sum_block(begin, end, C, deviations, [&](auto row, auto c) {
      const A deviation = shifted(row, c) - block_mean[c];
      return deviation * deviation;
    });
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
    mean[c] = static_cast<A>(static_cast<double>(x[c]) + joint_mean);
    variance[c] = static_cast<A>(joint_deviations / count);
  }
}

template <class T>
void batch_norm(const T* x, const Compute<T>* mean, const Compute<T>* variance,
                const Compute<T>* gamma, const Compute<T>* beta, const T* residual, bool relu, T* y,
                double eps, std::int64_t rows, std::int64_t C) {
  using A = Compute<T>;
  Tensor scale_memory = channel_array<A>(C);
  A* scale = scale_memory.data<A>();
  for (std::int64_t c = 0; c < C; ++c) scale[c] = gamma[c] * inverse_deviation(variance[c], eps);
  const A least = relu ? A(0) : -std::numeric_limits<A>::infinity();  // NaN stays NaN
  for_each_row(rows, C, [&](std::int64_t row) {
    const auto normalised = [&](std::int64_t c) {
      return (A(x[row + c]) - mean[c]) * scale[c] + beta[c];
    };
    const auto store = [&](std::int64_t c, A value) {
      y[row + c] = T(value < least ? least : value);
    };
    if (residual != nullptr) {
#pragma omp simd
      for (std::int64_t c = 0; c < C; ++c) store(c, normalised(c) + A(residual[row + c]));
    } else {
#pragma omp simd
      for (std::int64_t c = 0; c < C; ++c) store(c, normalised(c));
    }
  });
}

// With xhat = (x - mean) / sqrt(variance + eps) and averages over rows:
//   dx = gamma / sqrt(variance + eps) (g - average(g) - xhat average(g xhat)),
// g the masked gradient; where the statistics are constants, dx = gamma / sqrt(variance + eps) g.
template <class T>
void batch_norm_backward(const T* dy, const T* x, const T* y, const Compute<T>* mean,
                         const Compute<T>* variance, const Compute<T>* gamma, T* dx, T* dresidual,
                         Compute<T>* dgamma, Compute<T>* dbeta, double eps, bool training,
                         std::int64_t rows, std::int64_t C) {
  using A = Compute<T>;
  T* masked = dresidual != nullptr ? dresidual : dx;
  parameter_gradients(dy, x, y, mean, variance, masked, dgamma, dbeta, eps, rows, C);
  const T* g = y != nullptr ? masked : dy;
  Tensor scale_memory = channel_array<A>(C), shift_memory = channel_array<A>(C),
         slope_memory = channel_array<A>(C);
  A* scale = scale_memory.data<A>();
  A* shift = shift_memory.data<A>();
  A* slope = slope_memory.data<A>();
  for (std::int64_t c = 0; c < C; ++c) {
    const A inverse = inverse_deviation(variance[c], eps);
    scale[c] = gamma[c] * inverse;
    shift[c] = dbeta[c] / static_cast<A>(rows);
    slope[c] = dgamma[c] / static_cast<A>(rows) * inverse;
  }
  for_each_row(rows, C, [&](std::int64_t row) {
    if (training) {
#pragma omp simd
      for (std::int64_t c = 0; c < C; ++c) {
        dx[row + c] =
            T(scale[c] * (A(g[row + c]) - shift[c] - (A(x[row + c]) - mean[c]) * slope[c]));
      }
    } else {
#pragma omp simd
      for (std::int64_t c = 0; c < C; ++c) dx[row + c] = T(A(g[row + c]) * scale[c]);
    }
  });
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

#define GRADUS_INSTANTIATE(T)                                                                     \
  template void batch_norm_statistics<T>(const T*, Compute<T>*, Compute<T>*, std::int64_t,        \
                                         std::int64_t);                                           \
  template void batch_norm<T>(const T*, const Compute<T>*, const Compute<T>*, const Compute<T>*,  \
                              const Compute<T>*, const T*, bool, T*, double, std::int64_t,        \
                              std::int64_t);                                                      \
  template void batch_norm_backward<T>(const T*, const T*, const T*, const Compute<T>*,           \
                                       const Compute<T>*, const Compute<T>*, T*, T*, Compute<T>*, \
                                       Compute<T>*, double, bool, std::int64_t, std::int64_t);
GRADUS_INSTANTIATE(float)
GRADUS_INSTANTIATE(double)
GRADUS_INSTANTIATE(BFloat16)
#undef GRADUS_INSTANTIATE
template void batch_norm_track<float>(float*, float*, std::int64_t*, const float*, const float*,
                                      double, double, std::int64_t);
template void batch_norm_track<double>(double*, double*, std::int64_t*, const double*,
                                       const double*, double, double, std::int64_t);

}  // namespace gradus::cpu
