// Softmax cross-entropy of each row, fused: a warp takes a row, and the probabilities are never
// stored.
#include <cmath>

#include "tensor/backend/instantiate.h"
#include "tensor/cuda/index.h"
#include "tensor/cuda/runtime/launch.h"
#include "tensor/cuda/shared_array.h"
#include "tensor/cuda/warp.h"

namespace gradus::cuda {
namespace {

/// weight x, and 0 where the weight is: x is infinite where a logit is -infinity.
template <class C>
__device__ C weighted(C weight, C x) {
  return weight == C(0) ? C(0) : weight * x;
}

/// The largest of a row's logits x, sum_c exp(x_c - largest), and sum_c (x_c - largest), of a warp.
template <class C>
struct ShiftedSums {
  C largest, sum_exp = 0, sum = 0;

  template <class T>
  __device__ ShiftedSums(const T* x, std::int64_t classes) {
    largest = x[0];
    for (std::int64_t c = threadIdx.x; c < classes; c += warp) {
      const C value = x[c];
      largest = value > largest ? value : largest;
    }
    largest = warp_max(largest);
    for (std::int64_t c = threadIdx.x; c < classes; c += warp) {
      sum_exp += std::exp(x[c] - largest);
      sum += x[c] - largest;
    }
    sum_exp = warp_sum(sum_exp);
    sum = warp_sum(sum);
  }
};

// logits [rows, classes]; one warp a row.
template <class T>
__global__ void softmax_cross_entropy_kernel(const T* logits, const std::int64_t* labels,
                                             Compute<T>* losses, Compute<T> own, Compute<T> share,
                                             std::int64_t rows, std::int64_t classes) {
  using C = Compute<T>;
  for (std::int64_t i = first_row(); i < rows; i += row_stride()) {
    const T* x = logits + i * classes;
    const ShiftedSums<C> row(x, classes);
    if (threadIdx.x == 0) {
      const C log_sum = std::log(row.sum_exp);
      const std::int64_t label = labels[i];
      const bool in_range = label >= 0 && label < classes;
      const C own_logit = in_range ? static_cast<C>(x[label]) : static_cast<C>(std::nan(""));
      losses[i] = weighted(own, log_sum - (own_logit - row.largest)) +
                  weighted(share, static_cast<C>(classes) * log_sum - row.sum);
    }
  }
}

// dlogits [rows, classes]; one warp a row.
template <class T>
__global__ void softmax_cross_entropy_backward_kernel(const Compute<T>* dlosses, const T* logits,
                                                      const std::int64_t* labels, T* dlogits,
                                                      Compute<T> own, Compute<T> share,
                                                      std::int64_t rows, std::int64_t classes) {
  using C = Compute<T>;
  for (std::int64_t i = first_row(); i < rows; i += row_stride()) {
    const T* x = logits + i * classes;
    T* dx = dlogits + i * classes;
    const ShiftedSums<C> row(x, classes);
    for (std::int64_t c = threadIdx.x; c < classes; c += warp) {
      const C target = share + (c == labels[i] ? own : C(0));
      dx[c] = static_cast<T>(dlosses[i] * (std::exp(x[c] - row.largest) / row.sum_exp - target));
    }
  }
}

}  // namespace

template <class T>
void softmax_cross_entropy(const T* logits, const std::int64_t* labels, Compute<T>* losses,
                           double smoothing, std::int64_t rows, std::int64_t classes) {
  if (rows == 0) return;
  const double n = static_cast<double>(rows) * static_cast<double>(classes);
  launch("softmax_cross_entropy", softmax_cross_entropy_kernel<T>, one_row_each(rows, warp),
         {.bytes = n * sizeof(T) + static_cast<double>(rows) * (8 + sizeof(Compute<T>)),
          .flops = 6 * n},
         logits, labels, losses, 1 - smoothing, smoothing / static_cast<double>(classes), rows,
         classes);
}

template <class T>
void softmax_cross_entropy_backward(const Compute<T>* dlosses, const T* logits,
                                    const std::int64_t* labels, T* dlogits, double smoothing,
                                    std::int64_t rows, std::int64_t classes) {
  if (rows == 0) return;
  const double n = static_cast<double>(rows) * static_cast<double>(classes);
  launch("softmax_cross_entropy_backward", softmax_cross_entropy_backward_kernel<T>,
         one_row_each(rows, warp),
         {.bytes = 2 * n * sizeof(T) + static_cast<double>(rows) * (8 + sizeof(Compute<T>)),
          .flops = 8 * n},
         dlosses, logits, labels, dlogits, 1 - smoothing, smoothing / static_cast<double>(classes),
         rows, classes);
}

GRADUS_FLOATS(GRADUS_INSTANTIATE_CROSS_ENTROPY)

}  // namespace gradus::cuda
