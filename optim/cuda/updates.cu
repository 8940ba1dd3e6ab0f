// Updates of many tensors in one launch.
//
// The tensors' pointers travel in the kernel's arguments. Tensors are cut into chunks, a block
// each, so that small and large ones share the multiprocessors evenly; a block finds its tensor by
// binary search in the list's first_block.
#include <algorithm>
#include <span>
#include <utility>

#include "optim/internal/update_kernels.h"
#include "tensor/cuda/runtime/launch.h"
#include "tensor/cuda/shared_array.h"
#include "tensor/cuda/warp.h"

namespace gradus::cuda {
namespace {

using optim::GradientPointers;
using optim::LarsOptions;
using optim::SgdUpdate;
using optim::UpdatePointers;

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

// --- updates: parameter, gradient and state [n] of each tensor; updates [tensors] ---

/// Elements [i, i + size) of a tensor and of the states k.
template <int size, class Update, class T, std::size_t... k>
__device__ void apply_update(const Update& update, const UpdatePointers<T>& tensor, std::int64_t i,
                             std::index_sequence<k...>) {
  Vector<T, size> p = load_vector<size>(tensor.parameter + i);
  const Vector<T, size> g = load_vector<size>(tensor.gradient + i);
  Vector<T, size> state[] = {load_vector<size>(tensor.state[k] + i)...,
                             {}};  // one more: never none
  for (int e = 0; e < size; ++e) update(p[e], g[e], state[k][e]...);
  store_vector(tensor.parameter + i, p);
  (store_vector(tensor.state[k] + i, state[k]), ...);
}

template <std::size_t slots, class Update, class T>
__global__ void __launch_bounds__(threads)
    apply_updates_kernel(const TensorList<UpdatePointers<T>> list, const Update* updates,
                         const T* guard) {
  if (guard && !optim::is_finite(*guard)) return;
  const Chunk chunk = chunk_of_block(list);
  const UpdatePointers<T> tensor = list.tensors[chunk.tensor];
  const Update update = updates[chunk.tensor];
  const bool aligned =
      aligned_to_vectors(tensor.parameter, tensor.gradient, tensor.state[0], tensor.state[1]);
  for_each_piece<T>(chunk, aligned, [&]<int size>(std::int64_t i) {
    apply_update<size>(update, tensor, i, std::make_index_sequence<slots>());
  });
}

// --- norms: a partial sum for each block, then one block adds them up ---

/// partial[2 block] = sum p^2, partial[2 block + 1] = sum (g + w p)^2 over the block's chunk.
template <class T>
__global__ void __launch_bounds__(threads)
    lars_squares_kernel(const TensorList<UpdatePointers<T>> list, LarsOptions options,
                        const SgdUpdate* updates, double* partial) {
  const Chunk chunk = chunk_of_block(list);
  const T* parameter = list.tensors[chunk.tensor].parameter;
  const T* gradient = list.tensors[chunk.tensor].gradient;
  const double decay = decay_in_norm(options, updates[chunk.tensor]);
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
    set_trust_kernel(const TensorList<UpdatePointers<T>> list, LarsOptions options,
                     const double* partial, SgdUpdate* updates) {
  double parameters = 0, gradients = 0;
  const int tensor = static_cast<int>(blockIdx.x);
  for (int i = list.first_block[tensor] + static_cast<int>(threadIdx.x);
       i < list.first_block[tensor + 1]; i += threads) {
    parameters += partial[2 * static_cast<std::int64_t>(i)];
    gradients += partial[2 * static_cast<std::int64_t>(i) + 1];
  }
  parameters = block_sum(parameters);
  gradients = block_sum(gradients);
  if (threadIdx.x == 0)
    set_trust(options, std::sqrt(parameters), std::sqrt(gradients), updates[tensor]);
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

/// One block: *norm = sqrt(sum of partial [count]), and the factor that clips it.
__global__ void __launch_bounds__(threads)
    norm_kernel(const double* partial, std::int64_t count, double* norm, double max_norm,
                double* factor) {
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += threads) sum += partial[i];
  sum = block_sum(sum);
  if (threadIdx.x != 0) return;
  *norm = std::sqrt(sum);
  *factor = optim::clip_factor(*norm, max_norm);
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

}  // namespace

template <std::size_t slots, class Update, class T>
void apply_updates(std::span<const UpdatePointers<T>> tensors, const Update* updates,
                   const T* guard) {
  constexpr double accesses = 3 + 2 * slots;
  for_each_list(tensors, [&](const auto& list, std::size_t first, double elements) {
    launch(Update::name, apply_updates_kernel<slots, Update, T>, shape_of(list),
           Work{.bytes = accesses * elements * sizeof(T), .flops = Update::flops * elements}, list,
           updates + first, guard);
  });
}

template <class T>
void set_trust_ratios(std::span<const UpdatePointers<T>> tensors, const LarsOptions& options,
                      SgdUpdate* updates) {
  for_each_list(tensors, [&](const auto& list, std::size_t first, double elements) {
    const int chunks = list.first_block[list.count];
    const Scratch<double> partial(2 * std::int64_t{chunks});
    launch("lars_trust: squares", lars_squares_kernel<T>, shape_of(list),
           Work{.bytes = 2 * elements * sizeof(T), .flops = 6 * elements, .unit = Unit::fp64}, list,
           options, updates + first, partial.data());
    launch("lars_trust", set_trust_kernel<T>,
           {dim3(static_cast<unsigned>(list.count)), dim3(threads)},
           Work{.bytes = 2.0 * chunks * sizeof(double)}, list, options, partial.data(),
           updates + first);
  });
}

template <class T>
void clip_norm(std::span<const GradientPointers<T>> gradients, double max_norm, double* norm) {
  std::int64_t chunks = 0;
  for (const auto& tensor : gradients) chunks += divide_up(tensor.n, chunk_size);
  const Scratch<double> partial(std::max<std::int64_t>(chunks, 1)), factor(1);
  double* next = partial.data();
  for_each_list(gradients, [&](const auto& list, std::size_t, double elements) {
    launch("norm: squares", squares_kernel<T>, shape_of(list),
           Work{.bytes = elements * sizeof(T), .flops = 2 * elements, .unit = Unit::fp64}, list,
           next);
    next += list.first_block[list.count];
  });
  launch("norm", norm_kernel, {dim3(1), dim3(threads)},
         Work{.bytes = static_cast<double>(chunks) * sizeof(double)}, partial.data(), chunks, norm,
         max_norm, factor.data());
  for_each_list(gradients, [&](const auto& list, std::size_t, double elements) {
    launch("clip_norm: scale", scale_kernel<T>, shape_of(list),
           Work{.bytes = 2 * elements * sizeof(T), .flops = elements}, list, factor.data());
  });
}

GRADUS_INSTANTIATE_UPDATES(float)
GRADUS_INSTANTIATE_UPDATES(double)

}  // namespace gradus::cuda
