// Optimiser updates over many tensors in one launch (tensor/optimizer_updates.h).
//
// The tensors' pointers travel in the kernel's arguments. Tensors are cut into chunks, a block
// each, so that small and large ones share the multiprocessors evenly; a block finds its tensor by
// binary search in the list's first_block.
#include <algorithm>
#include <span>

#include "tensor/backend/kernels.h"
#include "tensor/cuda/runtime/launch.h"
#include "tensor/cuda/shared_array.h"
#include "tensor/cuda/warp.h"

namespace gradus::cuda {
namespace {

constexpr int threads = 256;
constexpr std::int64_t chunk_size = 4096;  // elements of a block: 4 vectors of 4 floats a thread

/// As many tensors as fit into the 4 KiB of a kernel's arguments beside the others. The blocks of
/// tensor i are first_block[i] to first_block[i + 1] - 1; there is none where n is 0.
template <class Pointers>
struct TensorList {
  static constexpr int capacity = (4096 - 256) / (sizeof(Pointers) + sizeof(int));
  Pointers tensors[capacity];
  int first_block[capacity + 1];
  int count;
};

/// What a block works on: elements [begin, end) of a tensor.
struct Chunk {
  int tensor;
  std::int64_t begin, end;
};

template <class Pointers>
__device__ Chunk chunk_of_block(const TensorList<Pointers>& list) {
  const int block = static_cast<int>(blockIdx.x);
  int low = 0, high = list.count;  // first_block[low] <= block < first_block[high]
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (list.first_block[middle] <= block) {
      low = middle;
    } else {
      high = middle;
    }
  }
  const std::int64_t begin = (block - list.first_block[low]) * chunk_size;
  const std::int64_t n = list.tensors[low].n;
  return {low, begin, n - begin < chunk_size ? n : begin + chunk_size};
}

template <class... T>
__device__ bool aligned_to_vectors(const T*... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...);
}

/// Calls visit<size>(i) for the pieces [i, i + size) of a chunk that are this thread's: vectors of
/// 16 bytes, then single elements; only those if not `aligned`.
template <class T, class Visit>
__device__ void for_each_piece(const Chunk& chunk, bool aligned, const Visit& visit) {
  constexpr int size = vector_size<T>;
  std::int64_t single = chunk.begin;
  if (aligned) {
    single = chunk.end - (chunk.end - chunk.begin) % size;
    for (std::int64_t i = chunk.begin + threadIdx.x * size; i < single; i += threads * size)
      visit.template operator()<size>(i);
  }
  for (std::int64_t i = single + threadIdx.x; i < chunk.end; i += threads)
    visit.template operator()<1>(i);
}

/// The sum over the block's threads, in a fixed order, in each of them.
__device__ double block_sum(double sum) {
  __shared__ SharedArray<double, warp> scratch;
  return row_combine<threads>(AddBoth{}, sum, scratch);
}

// --- updates: parameter, gradient and state [n] of each tensor; steps [tensors] ---

template <class T>
__global__ void __launch_bounds__(threads)
    sgd_update_kernel(const TensorList<SgdPointers<T>> list, const SgdStep* steps, SgdRule rule,
                      const T* guard) {
  if (guard && !is_finite(*guard)) return;
  const Chunk chunk = chunk_of_block(list);
  T* parameter = list.tensors[chunk.tensor].parameter;
  const T* gradient = list.tensors[chunk.tensor].gradient;
  T* momentum = list.tensors[chunk.tensor].momentum;
  const SgdElement<T> update(rule, steps[chunk.tensor]);
  for_each_piece<T>(chunk, aligned_to_vectors(parameter, gradient, momentum),
                    [&]<int size>(std::int64_t i) {
                      Vector<T, size> p = load_vector<size>(parameter + i);
                      const Vector<T, size> g = load_vector<size>(gradient + i);
                      if (momentum) {
                        Vector<T, size> m = load_vector<size>(momentum + i);
                        for (int k = 0; k < size; ++k) update(p[k], g[k], m[k]);
                        store_vector(momentum + i, m);
                      } else {
                        for (int k = 0; k < size; ++k) update(p[k], g[k]);
                      }
                      store_vector(parameter + i, p);
                    });
}

template <class T>
__global__ void __launch_bounds__(threads)
    adam_update_kernel(const TensorList<AdamPointers<T>> list, const AdamStep* steps, AdamRule rule,
                       const T* guard) {
  if (guard && !is_finite(*guard)) return;
  const Chunk chunk = chunk_of_block(list);
  T* parameter = list.tensors[chunk.tensor].parameter;
  const T* gradient = list.tensors[chunk.tensor].gradient;
  T* mean = list.tensors[chunk.tensor].mean;
  T* square = list.tensors[chunk.tensor].square;
  const AdamElement<T> update(rule, steps[chunk.tensor]);
  for_each_piece<T>(chunk, aligned_to_vectors(parameter, gradient, mean, square),
                    [&]<int size>(std::int64_t i) {
                      Vector<T, size> p = load_vector<size>(parameter + i);
                      const Vector<T, size> g = load_vector<size>(gradient + i);
                      Vector<T, size> m = load_vector<size>(mean + i);
                      Vector<T, size> v = load_vector<size>(square + i);
                      for (int k = 0; k < size; ++k) update(p[k], g[k], m[k], v[k]);
                      store_vector(parameter + i, p);
                      store_vector(mean + i, m);
                      store_vector(square + i, v);
                    });
}

// --- norms: a partial sum for each block, then one block adds them up ---

/// partial[2 block] = sum p^2, partial[2 block + 1] = sum (g + w p)^2 over the block's chunk.
template <class T>
__global__ void __launch_bounds__(threads)
    lars_squares_kernel(const TensorList<SgdPointers<T>> list, LarsRule rule, const SgdStep* steps,
                        double* partial) {
  const Chunk chunk = chunk_of_block(list);
  const T* parameter = list.tensors[chunk.tensor].parameter;
  const T* gradient = list.tensors[chunk.tensor].gradient;
  const double decay = decay_in_norm(rule, steps[chunk.tensor]);
  double parameters = 0, gradients = 0;
  for_each_piece<T>(chunk, aligned_to_vectors(parameter, gradient), [&]<int size>(std::int64_t i) {
    const Vector<T, size> p = load_vector<size>(parameter + i);
    const Vector<T, size> g = load_vector<size>(gradient + i);
    for (int k = 0; k < size; ++k) {
      const double decayed = g[k] + decay * p[k];
      parameters += static_cast<double>(p[k]) * p[k];
      gradients += decayed * decayed;
    }
  });
  parameters = block_sum(parameters);
  gradients = block_sum(gradients);
  if (threadIdx.x == 0) {
    partial[2 * static_cast<std::int64_t>(blockIdx.x)] = parameters;
    partial[2 * static_cast<std::int64_t>(blockIdx.x) + 1] = gradients;
  }
}

/// A block for each tensor, which adds up the partial sums of its chunks.
template <class T>
__global__ void __launch_bounds__(threads)
    set_trust_kernel(const TensorList<SgdPointers<T>> list, LarsRule rule, const double* partial,
                     SgdStep* steps) {
  double parameters = 0, gradients = 0;
  const int tensor = static_cast<int>(blockIdx.x);
  for (int i = list.first_block[tensor] + static_cast<int>(threadIdx.x);
       i < list.first_block[tensor + 1]; i += threads) {
    parameters += partial[2 * static_cast<std::int64_t>(i)];
    gradients += partial[2 * static_cast<std::int64_t>(i) + 1];
  }
  parameters = block_sum(parameters);
  gradients = block_sum(gradients);
  if (threadIdx.x == 0) set_trust(rule, std::sqrt(parameters), std::sqrt(gradients), steps[tensor]);
}

/// partial[block] = sum x^2 over the block's chunk.
template <class T>
__global__ void __launch_bounds__(threads)
    squares_kernel(const TensorList<GradientPointers<T>> list, double* partial) {
  const Chunk chunk = chunk_of_block(list);
  const T* x = list.tensors[chunk.tensor].gradient;
  double sum = 0;
  for_each_piece<T>(chunk, aligned_to_vectors(x), [&]<int size>(std::int64_t i) {
    const Vector<T, size> values = load_vector<size>(x + i);
    for (int k = 0; k < size; ++k) sum += static_cast<double>(values[k]) * values[k];
  });
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

/// One block: *norm = sqrt(sum of partial [count]), and the factor that clips it, if `factor`.
__global__ void __launch_bounds__(threads)
    norm_kernel(const double* partial, std::int64_t count, double* norm, double max_norm,
                double* factor) {
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += threads) sum += partial[i];
  sum = block_sum(sum);
  if (threadIdx.x != 0) return;
  *norm = std::sqrt(sum);
  if (factor) *factor = clip_factor(*norm, max_norm);
}

/// x *= factor
template <class T>
__global__ void __launch_bounds__(threads)
    scale_kernel(const TensorList<GradientPointers<T>> list, const double* factor) {
  const T scale = static_cast<T>(*factor);
  if (scale == 1) return;
  const Chunk chunk = chunk_of_block(list);
  T* x = list.tensors[chunk.tensor].gradient;
  for_each_piece<T>(chunk, aligned_to_vectors(x), [&]<int size>(std::int64_t i) {
    Vector<T, size> values = load_vector<size>(x + i);
    for (int k = 0; k < size; ++k) values[k] *= scale;
    store_vector(x + i, values);
  });
}

// --- launchers ---

/// Calls start(list, first, elements) for each list of tensors, from tensor `first` on, that have
/// any elements.
template <class Pointers, class Start>
void for_each_list(std::span<const Pointers> tensors, const Start& start) {
  using List = TensorList<Pointers>;
  for (std::size_t first = 0; first < tensors.size(); first += List::capacity) {
    const auto part =
        tensors.subspan(first, std::min<std::size_t>(List::capacity, tensors.size() - first));
    List list{};
    double elements = 0;
    for (const Pointers& tensor : part) {
      const int i = list.count++;
      list.tensors[i] = tensor;
      list.first_block[i + 1] =
          list.first_block[i] + static_cast<int>(divide_up(tensor.n, chunk_size));
      elements += static_cast<double>(tensor.n);
    }
    if (elements > 0) start(list, first, elements);
  }
}

/// A block for each chunk.
template <class Pointers>
LaunchShape shape_of(const TensorList<Pointers>& list) {
  return {dim3(static_cast<unsigned>(list.first_block[list.count])), dim3(threads)};
}

/// *norm, and *factor unless it is null.
template <class T>
void norm_and_factor(std::span<const GradientPointers<T>> tensors, double* norm, double max_norm,
                     double* factor) {
  std::int64_t chunks = 0;
  for (const auto& tensor : tensors) chunks += divide_up(tensor.n, chunk_size);
  const Scratch<double> partial(std::max<std::int64_t>(chunks, 1));
  double* next = partial.data();
  for_each_list(tensors, [&](const auto& list, std::size_t, double elements) {
    launch("norm: squares", squares_kernel<T>, shape_of(list),
           Work{.bytes = elements * sizeof(T), .flops = 2 * elements, .unit = Unit::fp64}, list,
           next);
    next += list.first_block[list.count];
  });
  launch("norm", norm_kernel, {dim3(1), dim3(threads)},
         Work{.bytes = static_cast<double>(chunks) * sizeof(double)}, partial.data(), chunks, norm,
         max_norm, factor);
}

}  // namespace

template <class T>
void sgd_update(std::span<const SgdPointers<T>> tensors, const SgdStep* steps, const SgdRule& rule,
                const T* guard) {
  const double accesses = rule.momentum != 0 ? 5 : 3;
  for_each_list(tensors, [&](const auto& list, std::size_t first, double elements) {
    launch("sgd_update", sgd_update_kernel<T>, shape_of(list),
           Work{.bytes = accesses * elements * sizeof(T), .flops = 7 * elements}, list,
           steps + first, rule, guard);
  });
}

template <class T>
void adam_update(std::span<const AdamPointers<T>> tensors, const AdamStep* steps,
                 const AdamRule& rule, const T* guard) {
  for_each_list(tensors, [&](const auto& list, std::size_t first, double elements) {
    launch("adam_update", adam_update_kernel<T>, shape_of(list),
           Work{.bytes = 7 * elements * sizeof(T), .flops = 16 * elements}, list, steps + first,
           rule, guard);
  });
}

template <class T>
void lars_trust(std::span<const SgdPointers<T>> tensors, const LarsRule& rule, SgdStep* steps) {
  for_each_list(tensors, [&](const auto& list, std::size_t first, double elements) {
    const int chunks = list.first_block[list.count];
    const Scratch<double> partial(2 * std::int64_t{chunks});
    launch("lars_trust: squares", lars_squares_kernel<T>, shape_of(list),
           Work{.bytes = 2 * elements * sizeof(T), .flops = 6 * elements, .unit = Unit::fp64}, list,
           rule, steps + first, partial.data());
    launch("lars_trust", set_trust_kernel<T>,
           {dim3(static_cast<unsigned>(list.count)), dim3(threads)},
           Work{.bytes = 2.0 * chunks * sizeof(double)}, list, rule, partial.data(), steps + first);
  });
}

template <class T>
void euclidean_norm(std::span<const GradientPointers<T>> tensors, double* norm) {
  norm_and_factor(tensors, norm, 0, nullptr);
}

template <class T>
void clip_norm(std::span<const GradientPointers<T>> tensors, double max_norm, double* norm) {
  const Scratch<double> factor(1);
  norm_and_factor(tensors, norm, max_norm, factor.data());
  for_each_list(tensors, [&](const auto& list, std::size_t, double elements) {
    launch("clip_norm: scale", scale_kernel<T>, shape_of(list),
           Work{.bytes = 2 * elements * sizeof(T), .flops = elements}, list, factor.data());
  });
}

#define GRADUS_INSTANTIATE(T)                                                                   \
  template void sgd_update(std::span<const SgdPointers<T>>, const SgdStep*, const SgdRule&,     \
                           const T*);                                                           \
  template void adam_update(std::span<const AdamPointers<T>>, const AdamStep*, const AdamRule&, \
                            const T*);                                                          \
  template void lars_trust(std::span<const SgdPointers<T>>, const LarsRule&, SgdStep*);         \
  template void euclidean_norm(std::span<const GradientPointers<T>>, double*);                  \
  template void clip_norm(std::span<const GradientPointers<T>>, double, double*);
GRADUS_INSTANTIATE(float)
GRADUS_INSTANTIATE(double)

}  // namespace gradus::cuda
