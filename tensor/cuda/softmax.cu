// Softmax over the last axis, alone and fused with cross-entropy, which never stores the
// probabilities. A row belongs to one warp, or (of softmax alone) to a block where it is long; its
// elements are read again for each pass, from the caches.
#include <cmath>

#include "tensor/backend/instantiate.h"
#include "tensor/cuda/index.h"
#include "tensor/cuda/runtime/launch.h"
#include "tensor/cuda/shared_array.h"
#include "tensor/cuda/warp.h"

namespace gradus::cuda {
namespace {

constexpr int block_threads = default_block;
constexpr std::int64_t longest_warp_row = 1024;

/// Largest element of a row x [columns] and the sum of exp(x - largest), in each of its threads.
template <class C>
struct SoftmaxSums {
  C largest, sum;
};

template <int threads, class T>
__device__ SoftmaxSums<Compute<T>> softmax_sums(const T* x, std::int64_t columns,
                                                SharedArray<Compute<T>, warp>& scratch) {
  using C = Compute<T>;
  C largest = x[0];
  for (std::int64_t c = threadIdx.x; c < columns; c += threads) {
    const C value = x[c];
    largest = value > largest ? value : largest;
  }
  largest = row_combine<threads>(TakeLarger{}, largest, scratch);
  C sum = 0;
  for (std::int64_t c = threadIdx.x; c < columns; c += threads) sum += std::exp(x[c] - largest);
  return {largest, row_combine<threads>(AddBoth{}, sum, scratch)};
}

// x, y [rows, columns]
template <int threads, class T>
__global__ void softmax_kernel(const T* x, T* y, std::int64_t rows, std::int64_t columns) {
  using C = Compute<T>;
  __shared__ SharedArray<C, warp> scratch;
  for (std::int64_t row = first_row(); row < rows; row += row_stride()) {
    const T* from = x + row * columns;
    const SoftmaxSums<C> sums = softmax_sums<threads>(from, columns, scratch);
    const C scale = 1 / sums.sum;
    for (std::int64_t c = threadIdx.x; c < columns; c += threads)
      y[row * columns + c] = static_cast<T>(std::exp(from[c] - sums.largest) * scale);
  }
}

// dy, y, dx [rows, columns]
template <int threads, class T>
__global__ void softmax_backward_kernel(const T* dy, const T* y, T* dx, std::int64_t rows,
                                        std::int64_t columns) {
  using C = Compute<T>;
  __shared__ SharedArray<C, warp> scratch;
  for (std::int64_t row = first_row(); row < rows; row += row_stride()) {
    const std::int64_t begin = row * columns;
    C sum = 0;
    for (std::int64_t c = threadIdx.x; c < columns; c += threads)
      sum += dy[begin + c] * y[begin + c];
    sum = row_combine<threads>(AddBoth{}, sum, scratch);
    for (std::int64_t c = threadIdx.x; c < columns; c += threads)
      dx[begin + c] = static_cast<T>(y[begin + c] * (dy[begin + c] - sum));
  }
}

// x, y [rows, columns]
template <int threads, class T>
__global__ void log_softmax_kernel(const T* x, T* y, std::int64_t rows, std::int64_t columns) {
  using C = Compute<T>;
  __shared__ SharedArray<C, warp> scratch;
  for (std::int64_t row = first_row(); row < rows; row += row_stride()) {
    const T* from = x + row * columns;
    const SoftmaxSums<C> sums = softmax_sums<threads>(from, columns, scratch);
    const C log_sum = std::log(sums.sum);
    for (std::int64_t c = threadIdx.x; c < columns; c += threads)
      y[row * columns + c] = static_cast<T>(from[c] - sums.largest - log_sum);
  }
}

// dy, y, dx [rows, columns]
template <int threads, class T>
__global__ void log_softmax_backward_kernel(const T* dy, const T* y, T* dx, std::int64_t rows,
                                            std::int64_t columns) {
  using C = Compute<T>;
  __shared__ SharedArray<C, warp> scratch;
  for (std::int64_t row = first_row(); row < rows; row += row_stride()) {
    const std::int64_t begin = row * columns;
    C sum = 0;
    for (std::int64_t c = threadIdx.x; c < columns; c += threads) sum += dy[begin + c];
    sum = row_combine<threads>(AddBoth{}, sum, scratch);
    for (std::int64_t c = threadIdx.x; c < columns; c += threads)
      dx[begin + c] = static_cast<T>(dy[begin + c] - std::exp(Compute<T>{y[begin + c]}) * sum);
  }
}

/// weight x, and 0 where the weight is: x is infinite where a logit is -infinity.
template <class C>
__device__ C weighted(C weight, C x) {
  return weight == C(0) ? C(0) : weight * x;
}

// logits [rows, classes]; one warp a row.
template <class T>
__global__ void softmax_cross_entropy_kernel(const T* logits, const std::int64_t* labels,
                                             Compute<T>* losses, Compute<T> own, Compute<T> share,
                                             std::int64_t rows, std::int64_t classes) {
  using C = Compute<T>;
  __shared__ SharedArray<C, warp> scratch;  // a row of one warp uses none of it
  for (std::int64_t i = first_row(); i < rows; i += row_stride()) {
    const T* x = logits + i * classes;
    const SoftmaxSums<C> sums = softmax_sums<warp>(x, classes, scratch);
    C sum = 0;
    for (std::int64_t c = threadIdx.x; c < classes; c += warp) sum += x[c] - sums.largest;
    sum = warp_combine(AddBoth{}, sum);
    if (threadIdx.x == 0) {
      const C log_sum = std::log(sums.sum);
      const std::int64_t label = labels[i];
      const bool in_range = label >= 0 && label < classes;
      const C own_logit = in_range ? static_cast<C>(x[label]) : static_cast<C>(std::nan(""));
      losses[i] = weighted(own, log_sum - (own_logit - sums.largest)) +
                  weighted(share, static_cast<C>(classes) * log_sum - sum);
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
  __shared__ SharedArray<C, warp> scratch;  // a row of one warp uses none of it
  for (std::int64_t i = first_row(); i < rows; i += row_stride()) {
    const T* x = logits + i * classes;
    T* dx = dlogits + i * classes;
    const SoftmaxSums<C> sums = softmax_sums<warp>(x, classes, scratch);
    for (std::int64_t c = threadIdx.x; c < classes; c += warp) {
      const C target = share + (c == labels[i] ? own : C(0));
      dx[c] = static_cast<T>(dlosses[i] * (std::exp(x[c] - sums.largest) / sums.sum - target));
    }
  }
}

/// Launches the kernel for warps or the one for blocks. `arrays` are moved, each once.
template <class T, class... Parameters, class... Arguments>
void launch_rows(const char* name, void (*warp_kernel)(Parameters...),
                 void (*block_kernel)(Parameters...), int arrays, std::int64_t rows,
                 std::int64_t columns, Arguments... pointers) {
  if (rows * columns == 0) return;
  const bool short_rows = columns <= longest_warp_row;
  const double n = static_cast<double>(rows) * static_cast<double>(columns);
  launch(name, short_rows ? warp_kernel : block_kernel,
         one_row_each(rows, short_rows ? warp : block_threads),
         {.bytes = arrays * n * sizeof(T), .flops = 5 * n}, pointers..., rows, columns);
}

}  // namespace

template <class T>
void softmax(const T* x, T* y, std::int64_t rows, std::int64_t columns) {
  launch_rows<T>("softmax", softmax_kernel<warp, T>, softmax_kernel<block_threads, T>, 2, rows,
                 columns, x, y);
}

template <class T>
void softmax_backward(const T* dy, const T* y, T* dx, std::int64_t rows, std::int64_t columns) {
  launch_rows<T>("softmax_backward", softmax_backward_kernel<warp, T>,
                 softmax_backward_kernel<block_threads, T>, 3, rows, columns, dy, y, dx);
}

template <class T>
void log_softmax(const T* x, T* y, std::int64_t rows, std::int64_t columns) {
  launch_rows<T>("log_softmax", log_softmax_kernel<warp, T>, log_softmax_kernel<block_threads, T>,
                 2, rows, columns, x, y);
}

template <class T>
void log_softmax_backward(const T* dy, const T* y, T* dx, std::int64_t rows, std::int64_t columns) {
  launch_rows<T>("log_softmax_backward", log_softmax_backward_kernel<warp, T>,
                 log_softmax_backward_kernel<block_threads, T>, 3, rows, columns, dy, y, dx);
}

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

GRADUS_INSTANTIATE_FLOATS(softmax)
GRADUS_INSTANTIATE_FLOATS(softmax_backward)
GRADUS_INSTANTIATE_FLOATS(log_softmax)
GRADUS_INSTANTIATE_FLOATS(log_softmax_backward)
GRADUS_INSTANTIATE_FLOATS(softmax_cross_entropy)
GRADUS_INSTANTIATE_FLOATS(softmax_cross_entropy_backward)

}  // namespace gradus::cuda
