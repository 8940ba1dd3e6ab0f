// fill, cast, copies, gather and scatter of rows, one_hot, all_finite. Copies move words of up to
// 16 bytes, whatever the elements.
#include "tensor/backend/instantiate.h"
#include "tensor/cuda/index.h"
#include "tensor/cuda/map.h"

namespace gradus::cuda {
namespace {

template <class T>
struct Constant {
  T value;
  __device__ T operator()() const { return value; }
};

template <class From, class To>
struct Convert {
  __device__ To operator()(From x) const { return static_cast<To>(x); }
};

// x [rows] of stride x_stride, y [rows] of stride y_stride, rows of `columns`, all in words.
template <class Word, class Index>
__global__ void copy_rows_kernel(const Word* x, std::int64_t x_stride, Word* y,
                                 std::int64_t y_stride, Index rows, Index columns) {
  for (Index i = first_index<Index>(); i < rows * columns; i += index_stride<Index>()) {
    const Index row = i / columns, column = i - row * columns;
    y[row * y_stride + column] = x[row * x_stride + column];
  }
}

// y [numel] in words, which lie x's strides apart.
template <class Word, class Index>
__global__ void strided_copy_kernel(const Word* x, Word* y, StridedGeometry g) {
  const int last = g.rank - 1;
  const Index columns = static_cast<Index>(g.size[last]);
  const Index step = static_cast<Index>(g.stride_a[last]);
  const Index items = static_cast<Index>(g.numel);
  for (Index i = first_index<Index>(); i < items; i += index_stride<Index>()) {
    const Index row = i / columns, column = i - row * columns;
    y[i] = x[row_offsets(g, row).a + column * step];
  }
}

// x [?, columns], y [rows, columns] in words.
template <class Word, class Index>
__global__ void gather_rows_kernel(const Word* x, const std::int64_t* index, Word* y, Index rows,
                                   Index columns) {
  for (Index i = first_index<Index>(); i < rows * columns; i += index_stride<Index>()) {
    const Index row = i / columns, column = i - row * columns;
    y[i] = x[index[row] * columns + column];
  }
}

// x [rows, columns]; a thread owns a column of y, so the order of additions is that of the rows.
template <class T>
__global__ void scatter_add_rows_kernel(const T* x, const std::int64_t* index, T* y,
                                        std::int64_t rows, std::int64_t columns) {
  for (auto j = first_index<std::int64_t>(); j < columns; j += index_stride<std::int64_t>()) {
    for (std::int64_t i = 0; i < rows; ++i) y[index[i] * columns + j] += x[i * columns + j];
  }
}

// y [rows, columns]
template <class T, class Index>
__global__ void one_hot_kernel(const std::int64_t* index, T* y, Index rows, Index columns) {
  for (Index i = first_index<Index>(); i < rows * columns; i += index_stride<Index>()) {
    const Index row = i / columns, column = i - row * columns;
    y[i] = static_cast<T>(index[row] == static_cast<std::int64_t>(column) ? 1 : 0);
  }
}

// *found becomes 1 if an element of x [n] is NaN or infinite.
template <int width, class T>
__global__ void find_not_finite_kernel(const T* x, std::int64_t n, int* found) {
  const auto first = first_index<std::int64_t>(), stride = index_stride<std::int64_t>();
  const std::int64_t vectors = n / width;
  Compute<T> zeros = 0;  // x * 0 is NaN unless x is finite
  for (std::int64_t i = first; i < vectors; i += stride) {
    const Vector<T, width> v = load_vector<width>(x + i * width);
#pragma unroll
    for (int k = 0; k < width; ++k) zeros += v[k] * Compute<T>{0};
  }
  for (std::int64_t i = vectors * width + first; i < n; i += stride) zeros += x[i] * Compute<T>{0};
  if (__syncthreads_or(zeros != 0) && threadIdx.x == 0) atomicOr(found, 1);
}

/// Calls function(Word{}) with the widest word of at most 16 bytes whose size divides all numbers
/// that were joined into `bits` by |: addresses, strides and lengths in bytes.
template <class Function>
void with_word(std::uint64_t bits, const Function& function) {
  if (bits % 16 == 0) {
    function(Vector<std::uint64_t, 2>{});
  } else if (bits % 8 == 0) {
    function(std::uint64_t{});
  } else if (bits % 4 == 0) {
    function(std::uint32_t{});
  } else if (bits % 2 == 0) {
    function(std::uint16_t{});
  } else {
    function(std::uint8_t{});
  }
}

std::uint64_t address(const void* p) { return reinterpret_cast<std::uintptr_t>(p); }

/// Bytes of n elements.
template <class T>
std::uint64_t bytes_of(std::int64_t n) {
  return static_cast<std::uint64_t>(n) * sizeof(T);
}

Work copy_work(std::uint64_t bytes) { return {.bytes = 2 * static_cast<double>(bytes)}; }

/// The same copy in words of `word_size` bytes rather than elements of `item_size`, along a last
/// axis of step 1.
StridedGeometry in_words(StridedGeometry g, std::size_t item_size, std::size_t word_size) {
  const auto convert = [&](std::int64_t n) {
    return n * static_cast<std::int64_t>(item_size) / static_cast<std::int64_t>(word_size);
  };
  g.numel = convert(g.numel);
  g.size[g.rank - 1] = convert(g.size[g.rank - 1]);
  for (int axis = 0; axis < g.rank - 1; ++axis) g.stride_a[axis] = convert(g.stride_a[axis]);
  return g;
}

}  // namespace

template <class T>
void fill(T* y, T value, std::int64_t n) {
  map("fill", Constant<T>{value}, y, n);
}

template <class From, class To>
void cast(const From* x, To* y, std::int64_t n) {
  map("cast", Convert<From, To>{}, y, n, x);
}

template <class T>
void copy_rows(const T* x, std::int64_t x_stride, T* y, std::int64_t y_stride, std::int64_t rows,
               std::int64_t columns) {
  if (rows * columns == 0) return;
  const std::uint64_t row_bytes = bytes_of<T>(columns);
  const std::uint64_t strides = rows == 1 ? 0 : bytes_of<T>(x_stride) | bytes_of<T>(y_stride);
  with_word(address(x) | address(y) | strides | row_bytes, [&]<class Word>(Word) {
    const auto words = [](std::int64_t n) {
      return n * static_cast<std::int64_t>(sizeof(T)) / static_cast<std::int64_t>(sizeof(Word));
    };
    const std::int64_t items = rows * words(columns);
    with_index(items, [&]<class Index>(Index) {
      launch("copy_rows", copy_rows_kernel<Word, Index>, one_thread_each(items),
             copy_work(static_cast<std::uint64_t>(rows) * row_bytes),
             reinterpret_cast<const Word*>(x), words(x_stride), reinterpret_cast<Word*>(y),
             words(y_stride), rows, words(columns));
    });
  });
}

template <class T>
void strided_copy(const T* x, T* y, const StridedGeometry& g) {
  if (g.numel == 0) return;
  std::uint64_t bits = sizeof(T);
  if (g.stride_a[g.rank - 1] == 1) {
    bits = address(x) | address(y) | bytes_of<T>(g.size[g.rank - 1]);
    for (int axis = 0; axis < g.rank - 1; ++axis) bits |= bytes_of<T>(g.stride_a[axis]);
  }
  with_word(bits, [&]<class Word>(Word) {
    const StridedGeometry words = in_words(g, sizeof(T), sizeof(Word));
    with_index(words.numel, [&]<class Index>(Index) {
      launch("strided_copy", strided_copy_kernel<Word, Index>, one_thread_each(words.numel),
             copy_work(bytes_of<T>(g.numel)), reinterpret_cast<const Word*>(x),
             reinterpret_cast<Word*>(y), words);
    });
  });
}

template <class T>
void gather_rows(const T* x, const std::int64_t* index, T* y, std::int64_t rows,
                 std::int64_t columns) {
  if (rows * columns == 0) return;
  const std::uint64_t row_bytes = bytes_of<T>(columns);
  with_word(address(x) | address(y) | row_bytes, [&]<class Word>(Word) {
    const auto words = static_cast<std::int64_t>(row_bytes / sizeof(Word));
    with_index(rows * words, [&]<class Index>(Index) {
      launch("gather_rows", gather_rows_kernel<Word, Index>, one_thread_each(rows * words),
             copy_work(static_cast<std::uint64_t>(rows) * row_bytes),
             reinterpret_cast<const Word*>(x), index, reinterpret_cast<Word*>(y), rows, words);
    });
  });
}

template <class T>
void scatter_add_rows(const T* x, const std::int64_t* index, T* y, std::int64_t rows,
                      std::int64_t columns) {
  if (rows * columns == 0) return;
  const double n = static_cast<double>(rows) * static_cast<double>(columns);
  launch("scatter_add_rows", scatter_add_rows_kernel<T>, one_thread_each(columns, 64),
         {.bytes = 3 * n * sizeof(T) + 8 * static_cast<double>(rows), .flops = n}, x, index, y,
         rows, columns);
}

template <class T>
void one_hot(const std::int64_t* index, T* y, std::int64_t rows, std::int64_t columns) {
  const std::int64_t n = rows * columns;
  if (n == 0) return;
  with_index(n, [&]<class Index>(Index) {
    launch("one_hot", one_hot_kernel<T, Index>, one_thread_each(n),
           {.bytes = static_cast<double>(n) * sizeof(T) + 8 * static_cast<double>(rows)}, index, y,
           rows, columns);
  });
}

template <class T>
void all_finite(const T* x, std::int64_t n, bool* result) {
  *result = true;
  if (n == 0) return;
  const Scratch<int> found(1);
  fill(found.data(), 0, 1);
  constexpr int width = vector_size<T>;
  const Work work{.bytes = static_cast<double>(n) * sizeof(T), .flops = static_cast<double>(n)};
  if (is_aligned(x, width)) {
    launch("all_finite", find_not_finite_kernel<width, T>, one_thread_each(divide_up(n, width)),
           work, x, n, found.data());
  } else {
    launch("all_finite", find_not_finite_kernel<1, T>, one_thread_each(n), work, x, n,
           found.data());
  }
  int host_found = 0;
  copy_to_host(&host_found, found.data(), sizeof(int));
  *result = host_found == 0;
}

GRADUS_INSTANTIATE_ALL_TYPES(fill)
GRADUS_INSTANTIATE_ALL_TYPES(cast, float)
GRADUS_INSTANTIATE_ALL_TYPES(cast, double)
GRADUS_INSTANTIATE_ALL_TYPES(cast, BFloat16)
GRADUS_INSTANTIATE_ALL_TYPES(cast, std::uint8_t)
GRADUS_INSTANTIATE_ALL_TYPES(cast, std::int64_t)
GRADUS_INSTANTIATE_ALL_TYPES(copy_rows)
GRADUS_INSTANTIATE_ALL_TYPES(strided_copy)
GRADUS_INSTANTIATE_ALL_TYPES(gather_rows)
GRADUS_INSTANTIATE_ALL_TYPES(one_hot)
GRADUS_INSTANTIATE_FLOATS(all_finite)
GRADUS_INSTANTIATE_FLOAT_AND_DOUBLE(scatter_add_rows)

}  // namespace gradus::cuda
