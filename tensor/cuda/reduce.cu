// Sums over [outer, reduce, inner] to [outer, inner] in fixed trees.
//
// Where inner is 1, the elements of a result are neighbours, and a warp or a block takes them; else
// the threads of a block lie along inner and along reduce. Where there are few results, `reduce` is
// split among blocks, whose partial sums a second launch adds.
#include <algorithm>

#include "tensor/backend/instantiate.h"
#include "tensor/cuda/index.h"
#include "tensor/cuda/runtime/launch.h"
#include "tensor/cuda/warp.h"

namespace gradus::cuda {
namespace {

constexpr int block_threads = default_block;
constexpr int serial_terms = 8;               // added up before they join a thread's total
constexpr std::int64_t enough_blocks = 1024;  // to fill a GPU

// Terms: add<width>(i, k, sums) adds what elements i .. i + width - 1 of x contribute. The sums are
// those of result k for all of them (stride 0), or of results k, k + 1, ... (stride 1).

template <class T>
struct SumTerm {
  using Number = Compute<T>;
  static constexpr int sums = 1;
  static constexpr int vector_width = vector_size<T>;
  const T* x;
  bool aligned() const { return aligned_to_vectors(x); }

  template <int width, int results>
  __device__ void add(std::int64_t i, std::int64_t, Number (&s)[results][1]) const {
    const auto v = load_vector<width>(x + i);
#pragma unroll
    for (int j = 0; j < width; ++j) s[results == 1 ? 0 : j][0] += v[j];
  }
};

/// x - mean and its square.
template <class T>
struct DeviationTerm {
  using Number = Compute<T>;
  static constexpr int sums = 2;
  static constexpr int vector_width = vector_size<T>;
  const T* x;
  const Number* mean;
  bool aligned() const { return aligned_to_vectors(x); }

  template <int width, int results>
  __device__ void add(std::int64_t i, std::int64_t k, Number (&s)[results][2]) const {
    const auto v = load_vector<width>(x + i);
#pragma unroll
    for (int j = 0; j < width; ++j) {
      const int result = results == 1 ? 0 : j;
      const Number d = v[j] - mean[k + result];
      s[result][0] += d;
      s[result][1] += d * d;
    }
  }
};

/// Partial sums [count, sums] of an earlier launch, one after another.
template <class C, int count>
struct PartialTerm {
  using Number = C;
  static constexpr int sums = count;
  static constexpr int vector_width = 1;
  const C* partial;
  bool aligned() const { return true; }

  template <int width, int results>
  __device__ void add(std::int64_t i, std::int64_t, C (&s)[results][count]) const {
#pragma unroll
    for (int j = 0; j < count; ++j) s[0][j] += partial[i * count + j];
  }
};

// Finishes: what becomes of the sums of result k.

template <class C>
struct StoreSum {
  C* y;
  __device__ void operator()(std::int64_t k, const C (&s)[1]) const { y[k] = s[0]; }
};

template <class C>
struct StoreSquaredDeviations {
  C* y;
  std::int64_t reduce;
  __device__ void operator()(std::int64_t k, const C (&s)[2]) const {
    const C corrected = s[1] - s[0] * (s[0] / static_cast<C>(reduce));
    y[k] = corrected < 0 ? C{0} : corrected;
  }
};

template <class C, int count>
struct StorePartial {
  C* partial;  // [outer, splits, inner, count]
  __device__ void operator()(std::int64_t k, const C (&s)[count]) const {
#pragma unroll
    for (int j = 0; j < count; ++j) partial[k * count + j] = s[j];
  }
};

/// The sums of one thread, at most serial_terms terms at a time.
template <int width, int results, class Term>
struct ThreadSums {
  using C = typename Term::Number;
  C total[results][Term::sums] = {};

  /// Terms at i, i + step, ... below end.
  __device__ void add(const Term& term, std::int64_t i, std::int64_t end, std::int64_t step,
                      std::int64_t k) {
    while (i < end) {
      C part[results][Term::sums] = {};
#pragma unroll 4
      for (int t = 0; t < serial_terms && i < end; ++t, i += step)
        term.template add<width>(i, k, part);
#pragma unroll
      for (int r = 0; r < results; ++r)
#pragma unroll
        for (int j = 0; j < Term::sums; ++j) total[r][j] += part[r][j];
    }
  }
};

// x [outer, reduce]: each row of `threads` threads sums the piece [outer, split] of `piece`
// elements; blockDim = (threads, rows).
template <int threads, int width, class Term, class Finish>
__global__ void sum_neighbours_kernel(Term term, Finish finish, std::int64_t outer,
                                      std::int64_t reduce, std::int64_t splits,
                                      std::int64_t piece) {
  using C = typename Term::Number;
  __shared__ SharedArray<C, warp> scratch;
  for (std::int64_t item = first_row(); item < outer * splits; item += row_stride()) {
    const std::int64_t o = item / splits, begin = (item - o * splits) * piece;
    const std::int64_t end = o * reduce + std::min(begin + piece, reduce);
    const std::int64_t vectors_end = end - (width - 1);
    std::int64_t i = o * reduce + begin + threadIdx.x * width;
    ThreadSums<width, 1, Term> sums;
    sums.add(term, i, vectors_end, threads * width, o);
    if constexpr (width > 1) {  // the last elements, fewer than a vector
      ThreadSums<1, 1, Term> rest;
      const std::int64_t vectors = (end - (o * reduce + begin)) / width * width;
      rest.add(term, o * reduce + begin + vectors + threadIdx.x, end, threads, o);
#pragma unroll
      for (int j = 0; j < Term::sums; ++j) sums.total[0][j] += rest.total[0][j];
    }
    C result[Term::sums];
#pragma unroll
    for (int j = 0; j < Term::sums; ++j)
      result[j] = row_combine<threads>(AddBoth{}, sums.total[0][j], scratch);
    if (threadIdx.x == 0) finish(item, result);
  }
}

// x [outer, reduce, inner]: a block sums `piece` rows of blockDim.x * width columns.
template <int width, class Term, class Finish>
__global__ void sum_columns_kernel(Term term, Finish finish, std::int64_t outer,
                                   std::int64_t reduce, std::int64_t inner, std::int64_t splits,
                                   std::int64_t piece) {
  using C = typename Term::Number;
  __shared__ SharedArray<C, block_threads> scratch;
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  const std::int64_t tile_columns = std::int64_t{blockDim.x} * width;
  const std::int64_t tiles = divide_up(inner, tile_columns);
  for (std::int64_t item = blockIdx.x; item < outer * splits * tiles; item += gridDim.x) {
    const std::int64_t group = item / tiles;  // o * splits + split
    const std::int64_t column = (item - group * tiles) * tile_columns + x * width;
    const std::int64_t o = group / splits, begin = (group - o * splits) * piece;
    const std::int64_t end = std::min(begin + piece, reduce);
    ThreadSums<width, width, Term> sums;
    if (column < inner) {
      const std::int64_t base = o * reduce * inner + column;
      sums.add(term, base + (begin + y) * inner, base + end * inner, blockDim.y * inner,
               o * inner + column);
    }
    // A tree over the rows of threads, one number at a time.
#pragma unroll
    for (int r = 0; r < width; ++r) {
#pragma unroll
      for (int j = 0; j < Term::sums; ++j) {
        const C total = column_sum(sums.total[r][j], scratch);
        if (y == 0) sums.total[r][j] = total;
      }
    }
    if (y == 0 && column < inner) {
#pragma unroll
      for (int r = 0; r < width; ++r) finish(group * inner + column + r, sums.total[r]);
    }
  }
}

/// A launch over pieces of `reduce`.
struct Splits {
  std::int64_t count, piece;
};

/// Pieces of at least `least` elements, a multiple of 64, so that there are enough blocks.
Splits split_reduce(std::int64_t reduce, std::int64_t blocks, std::int64_t least) {
  const std::int64_t wanted =
      std::max<std::int64_t>(enough_blocks / std::max<std::int64_t>(blocks, 1), 1);
  const std::int64_t count = std::clamp<std::int64_t>(reduce / least, 1, wanted);
  const std::int64_t piece = std::max<std::int64_t>(divide_up(reduce, count * 64), 1) * 64;
  return {std::max<std::int64_t>(divide_up(reduce, piece), 1), piece};
}

template <class Term, class Finish>
void sum_neighbours(const char* name, const Term& term, const Finish& finish,
                    const ReduceGeometry& g, const Splits& splits, const Work& work) {
  const std::int64_t items = g.outer * splits.count;
  constexpr int width = Term::vector_width;
  const bool vectors = term.aligned() && (g.outer == 1 || g.reduce % width == 0);
  const auto start = [&](auto kernel, const LaunchShape& shape) {
    launch(name, kernel, shape, work, term, finish, g.outer, g.reduce, splits.count, splits.piece);
  };
  if (std::min(splits.piece, g.reduce) <= 1024) {
    const LaunchShape shape = one_row_each(items, warp);
    if (vectors) {
      start(sum_neighbours_kernel<warp, width, Term, Finish>, shape);
    } else {
      start(sum_neighbours_kernel<warp, 1, Term, Finish>, shape);
    }
  } else {
    const LaunchShape shape = one_row_each(items, block_threads);
    if (vectors) {
      start(sum_neighbours_kernel<block_threads, width, Term, Finish>, shape);
    } else {
      start(sum_neighbours_kernel<block_threads, 1, Term, Finish>, shape);
    }
  }
}

/// Threads of a block along inner: a power of two of at most a warp that covers it.
int column_threads(std::int64_t vectors) {
  int threads = 1;
  while (threads < warp && threads < vectors) threads *= 2;
  return threads;
}

template <int width, class Term, class Finish>
void sum_columns(const char* name, const Term& term, const Finish& finish, const ReduceGeometry& g,
                 const Splits& splits, const Work& work) {
  const int threads = column_threads(divide_up(g.inner, width));
  const std::int64_t tiles = divide_up(g.inner, std::int64_t{threads} * width);
  LaunchShape shape = one_row_each(g.outer * splits.count * tiles, block_threads);  // a block each
  shape.block =
      dim3(static_cast<unsigned>(threads), static_cast<unsigned>(block_threads / threads));
  launch(name, sum_columns_kernel<width, Term, Finish>, shape, work, term, finish, g.outer,
         g.reduce, g.inner, splits.count, splits.piece);
}

/// One launch of the kernel that fits the geometry.
template <class Term, class Finish>
void sum_pieces(const char* name, const Term& term, const Finish& finish, const ReduceGeometry& g,
                const Splits& splits, const Work& work) {
  constexpr int width = Term::vector_width;
  if (g.inner == 1) {
    sum_neighbours(name, term, finish, g, splits, work);
  } else if (term.aligned() && g.inner % width == 0) {
    sum_columns<width>(name, term, finish, g, splits, work);
  } else {
    sum_columns<1>(name, term, finish, g, splits, work);
  }
}

/// Sums the terms of x [outer, reduce, inner] and finishes each of the [outer, inner] results.
template <class Term, class Finish>
void reduce_sums(const char* name, const Term& term, const Finish& finish, const ReduceGeometry& g,
                 const Work& work) {
  using C = typename Term::Number;
  constexpr int sums = Term::sums;
  const std::int64_t results = g.outer * g.inner;
  if (results == 0) return;
  const bool neighbours = g.inner == 1;
  const std::int64_t blocks = neighbours ? g.outer : g.outer * divide_up(g.inner, 64);
  const Splits splits = split_reduce(g.reduce, blocks, neighbours ? 4096 : 256);
  if (splits.count == 1) {
    sum_pieces(name, term, finish, g, splits, work);
    return;
  }
  const Scratch<C> partial(results * splits.count * sums);
  sum_pieces(name, term, StorePartial<C, sums>{partial.data()}, g, splits, work);
  const double partial_bytes = static_cast<double>(results * splits.count * sums) * sizeof(C);
  sum_pieces(name, PartialTerm<C, sums>{partial.data()}, finish, {g.outer, splits.count, g.inner},
             {1, splits.count},
             {.bytes = static_cast<double>(results) * sizeof(C), .cached_bytes = partial_bytes});
}

/// Reading x once and writing the results.
template <class T>
Work reduce_work(const ReduceGeometry& g, double result_bytes, double flops) {
  const double results = static_cast<double>(g.outer) * static_cast<double>(g.inner);
  const double n = results * static_cast<double>(g.reduce);
  return {.bytes = n * sizeof(T) + results * result_bytes, .flops = n * flops};
}

}  // namespace

template <class T>
void sum(const T* x, Compute<T>* y, const ReduceGeometry& g) {
  reduce_sums("sum", SumTerm<T>{x}, StoreSum<Compute<T>>{y}, g,
              reduce_work<T>(g, sizeof(Compute<T>), 1));
}

template <class T>
void sum_squared_deviations(const T* x, const Compute<T>* mean, Compute<T>* y,
                            const ReduceGeometry& g) {
  using C = Compute<T>;
  reduce_sums("sum_squared_deviations", DeviationTerm<T>{x, mean},
              StoreSquaredDeviations<C>{y, g.reduce}, g, reduce_work<T>(g, 2 * sizeof(C), 4));
}

GRADUS_INSTANTIATE_FLOATS(sum)
GRADUS_INSTANTIATE_FLOATS(sum_squared_deviations)

}  // namespace gradus::cuda
