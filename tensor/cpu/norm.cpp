// Batch norm: x [rows, C]. Sums over rows are taken in blocks of rows that fit the second-level
// cache and combined in order, in double, so that they do not depend on the number of threads.
#include <algorithm>
#include <cmath>

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

/// dbeta = sum dy and dgamma = sum dy (x - mean) / sqrt(variance + eps), over rows.
template <class T>
void parameter_gradients(const T* dy, const T* x, const T* mean, const T* variance, T* dgamma,
                         T* dbeta, double eps, std::int64_t rows, std::int64_t C) {
  BlockSums<T> sums(rows, C);
  sums.fill([&](std::int64_t begin, std::int64_t end, T* sum_dy, T* sum_dy_x) {
    sum_block(begin, end, C, sum_dy, [&](auto row, auto c) { return dy[row * C + c]; });
    sum_block(begin, end, C, sum_dy_x,
              [&](auto row, auto c) { return dy[row * C + c] * (x[row * C + c] - mean[c]); });
  });
  for (std::int64_t c = 0; c < C; ++c) {
    double sum_dy = 0, sum_dy_x = 0;
    for (std::int64_t block = 0; block < sums.blocks(); ++block) {
      sum_dy += sums.first(block, c);
      sum_dy_x += sums.second(block, c);
    }
    dbeta[c] = static_cast<T>(sum_dy);
    dgamma[c] = static_cast<T>(sum_dy_x / std::sqrt(static_cast<double>(variance[c]) + eps));
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

// Blocks two-pass; their means and sums of squared deviations are then joined pairwise, after Chan,
// Golub and LeVeque (1979).
template <class T>
void batch_norm_statistics(const T* x, T* mean, T* variance, std::int64_t rows, std::int64_t C) {
  BlockSums<T> sums(rows, C);
  sums.fill([&](std::int64_t begin, std::int64_t end, T* block_mean, T* deviations) {
    sum_block(begin, end, C, block_mean, [&](auto row, auto c) { return x[row * C + c]; });
    for (std::int64_t c = 0; c < C; ++c) block_mean[c] /= static_cast<T>(end - begin);
    sum_block(begin, end, C, deviations, [&](auto row, auto c) {
      const T deviation = x[row * C + c] - block_mean[c];
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
    mean[c] = static_cast<T>(joint_mean);
    variance[c] = static_cast<T>(joint_deviations / count);
  }
}

template <class T>
void batch_norm(const T* x, const T* mean, const T* variance, const T* gamma, const T* beta, T* y,
                double eps, std::int64_t rows, std::int64_t C) {
  Tensor scale_memory = channel_array<T>(C);
  T* scale = scale_memory.data<T>();
  for (std::int64_t c = 0; c < C; ++c) scale[c] = gamma[c] * inverse_deviation(variance[c], eps);
  for_each_row(rows, C, [&](std::int64_t row) {
#pragma omp simd
    for (std::int64_t c = 0; c < C; ++c) y[row + c] = (x[row + c] - mean[c]) * scale[c] + beta[c];
  });
}

// With xhat = (x - mean) / sqrt(variance + eps) and averages over rows:
//   dx = gamma / sqrt(variance + eps) (dy - average(dy) - xhat average(dy xhat))
template <class T>
void batch_norm_backward(const T* dy, const T* x, const T* mean, const T* variance, const T* gamma,
                         T* dx, T* dgamma, T* dbeta, double eps, std::int64_t rows,
                         std::int64_t C) {
  parameter_gradients(dy, x, mean, variance, dgamma, dbeta, eps, rows, C);
  Tensor scale_memory = channel_array<T>(C), shift_memory = channel_array<T>(C),
         slope_memory = channel_array<T>(C);
  T* scale = scale_memory.data<T>();
  T* shift = shift_memory.data<T>();
  T* slope = slope_memory.data<T>();
  for (std::int64_t c = 0; c < C; ++c) {
    const T inverse = inverse_deviation(variance[c], eps);
    scale[c] = gamma[c] * inverse;
    shift[c] = dbeta[c] / static_cast<T>(rows);
    slope[c] = dgamma[c] / static_cast<T>(rows) * inverse;
  }
  for_each_row(rows, C, [&](std::int64_t row) {
#pragma omp simd
    for (std::int64_t c = 0; c < C; ++c) {
      dx[row + c] = scale[c] * (dy[row + c] - shift[c] - (x[row + c] - mean[c]) * slope[c]);
    }
  });
}

template <class T>
void batch_norm_frozen_backward(const T* dy, const T* x, const T* mean, const T* variance,
                                const T* gamma, T* dx, T* dgamma, T* dbeta, double eps,
                                std::int64_t rows, std::int64_t C) {
  parameter_gradients(dy, x, mean, variance, dgamma, dbeta, eps, rows, C);
  Tensor scale_memory = channel_array<T>(C);
  T* scale = scale_memory.data<T>();
  for (std::int64_t c = 0; c < C; ++c) scale[c] = gamma[c] * inverse_deviation(variance[c], eps);
  for_each_row(rows, C, [&](std::int64_t row) {
#pragma omp simd
    for (std::int64_t c = 0; c < C; ++c) dx[row + c] = dy[row + c] * scale[c];
  });
}

#define GRADUS_INSTANTIATE(T)                                                                    \
  template void batch_norm_statistics<T>(const T*, T*, T*, std::int64_t, std::int64_t);          \
  template void batch_norm<T>(const T*, const T*, const T*, const T*, const T*, T*, double,      \
                              std::int64_t, std::int64_t);                                       \
  template void batch_norm_backward<T>(const T*, const T*, const T*, const T*, const T*, T*, T*, \
                                       T*, double, std::int64_t, std::int64_t);                  \
  template void batch_norm_frozen_backward<T>(const T*, const T*, const T*, const T*, const T*,  \
                                              T*, T*, T*, double, std::int64_t, std::int64_t);
GRADUS_INSTANTIATE(float)
GRADUS_INSTANTIATE(double)
#undef GRADUS_INSTANTIATE

}  // namespace gradus::cpu
