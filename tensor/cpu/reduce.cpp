// Reductions of [outer, reduce, inner] to [outer, inner], in a fixed order for any thread count.
#include <cmath>
#include <numeric>
#include <vector>

#include "tensor/backend/instantiate.h"
#include "tensor/cpu/parallel.h"

namespace gradus::cpu {
namespace {

/// Sums term(begin) .. term(end - 1) in float64: 16 interleaved sums in blocks of 1024, and the
/// blocks pairwise, so that the error grows with log n, not n.
template <class Term>
double pairwise_sum(std::int64_t begin, std::int64_t end, const Term& term) {
  if (end - begin <= 1024) {
    constexpr int lanes = 16;
    double sums[lanes] = {};
    std::int64_t i = begin;
    for (; i + lanes <= end; i += lanes)
      for (int lane = 0; lane < lanes; ++lane) sums[lane] += static_cast<double>(term(i + lane));
    for (int lane = 0; i < end; ++i, ++lane) sums[lane] += static_cast<double>(term(i));
    return std::accumulate(sums, sums + lanes, 0.0);
  }
  const std::int64_t middle = begin + (end - begin) / 2;
  return pairwise_sum(begin, middle, term) + pairwise_sum(middle, end, term);
}

/// y[j] = sum over rows of term(row, j) for the columns [0, n), in blocks of 128 rows that are
/// added up separately first, and then in float64: the error does not grow with the rows.
template <class T, class Term>
void sum_rows(std::int64_t rows, std::int64_t n, T* y, const Term& term) {
  constexpr std::int64_t width = 64;
  for (std::int64_t j0 = 0; j0 < n; j0 += width) {
    const std::int64_t columns = std::min(width, n - j0);
    double total[width] = {};
    for (std::int64_t i0 = 0; i0 < rows; i0 += 128) {
      T partial[width] = {};
      for (std::int64_t i = i0; i < std::min(rows, i0 + 128); ++i)
        for (std::int64_t j = 0; j < columns; ++j) partial[j] += term(i, j0 + j);
      for (std::int64_t j = 0; j < columns; ++j) total[j] += partial[j];
    }
    for (std::int64_t j = 0; j < columns; ++j) y[j0 + j] = static_cast<T>(total[j]);
  }
}

/// y[k] = sum of term(i, k) over the elements i of x [outer, reduce, inner] that reduce to element
/// k of y [outer, inner].
template <class T, class Term>
void reduce_sum(T* y, const ReduceGeometry& g, const Term& term) {
  if (g.outer * g.inner == 0) return;
  if (g.inner == 1 && g.outer == 1) {  // everything to one number: a partial sum a block
    const std::int64_t blocks = divide_up(g.reduce, elementwise_grain);
    std::vector<double> partial(static_cast<std::size_t>(blocks), 0.0);
    parallel_blocks(g.reduce, elementwise_grain, [&](auto begin, auto end) {
      partial[begin / elementwise_grain] =
          pairwise_sum(begin, end, [&](auto i) { return term(i, 0); });
    });
    y[0] = static_cast<T>(
        pairwise_sum(0, blocks, [&](auto i) { return partial[static_cast<std::size_t>(i)]; }));
  } else if (g.inner == 1) {
    parallel_rows(g.outer, g.reduce, [&](std::int64_t o) {
      y[o] = static_cast<T>(
          pairwise_sum(o * g.reduce, (o + 1) * g.reduce, [&](auto i) { return term(i, o); }));
    });
  } else if (g.outer > 1) {
    parallel_rows(g.outer, g.reduce * g.inner, [&](std::int64_t o) {
      sum_rows(g.reduce, g.inner, y + o * g.inner, [&](auto r, auto j) {
        return term((o * g.reduce + r) * g.inner + j, o * g.inner + j);
      });
    });
  } else {  // leading reduction, as of a bias gradient: blocks of rows, then their sums
    const std::int64_t block_rows = std::max<std::int64_t>(128, elementwise_grain / g.inner);
    const std::int64_t blocks = std::max<std::int64_t>(1, divide_up(g.reduce, block_rows));
    std::vector<T> partial(static_cast<std::size_t>(blocks * g.inner), T{0});
    parallel_blocks(g.reduce, block_rows, [&](auto begin, auto end) {
      sum_rows(end - begin, g.inner, partial.data() + begin / block_rows * g.inner,
               [&](auto r, auto j) { return term((begin + r) * g.inner + j, j); });
    });
    sum_rows(blocks, g.inner, y, [&](auto r, auto j) { return partial[r * g.inner + j]; });
  }
}

}  // namespace

template <class T>
void sum(const T* x, Compute<T>* y, const ReduceGeometry& g) {
  reduce_sum(y, g, [=](auto i, auto) -> Compute<T> { return x[i]; });
}

template <class T>
void sum_squared_deviations(const T* x, const Compute<T>* mean, Compute<T>* y,
                            const ReduceGeometry& g) {
  const auto deviation = [=](auto i, auto k) { return x[i] - mean[k]; };
  std::vector<Compute<T>> sums(static_cast<std::size_t>(g.outer * g.inner));
  reduce_sum(sums.data(), g, deviation);
  reduce_sum(y, g, [=](auto i, auto k) {
    const Compute<T> d = deviation(i, k);
    return d * d;
  });
  for (std::size_t i = 0; i < sums.size(); ++i)
    y[i] = std::max(y[i] - sums[i] * (sums[i] / static_cast<Compute<T>>(g.reduce)), Compute<T>{0});
}

template <class T>
void max(const T* x, T* y, std::int64_t* index, const ReduceGeometry& g) {
  parallel_rows(g.outer * g.inner, g.reduce, [=, &g](std::int64_t i) {
    const T* from = x + i / g.inner * g.reduce * g.inner + i % g.inner;
    Compute<T> best = from[0];
    std::int64_t best_index = 0;
    for (std::int64_t r = 1; r < g.reduce && !std::isnan(best); ++r) {
      const Compute<T> value = from[r * g.inner];
      if (value > best || std::isnan(value)) {
        best = value;
        best_index = r;
      }
    }
    y[i] = static_cast<T>(best);
    index[i] = best_index;
  });
}

template <class T>
void max_backward(const T* dy, const std::int64_t* index, T* dx, const ReduceGeometry& g) {
  fill(dx, T{0}, g.outer * g.reduce * g.inner);
  for (std::int64_t i = 0; i < g.outer * g.inner; ++i) {
    if (index[i] < 0 || index[i] >= g.reduce) continue;
    dx[(i / g.inner * g.reduce + index[i]) * g.inner + i % g.inner] = dy[i];
  }
}

GRADUS_INSTANTIATE_FLOATS(sum)
GRADUS_INSTANTIATE_FLOATS(sum_squared_deviations)
GRADUS_INSTANTIATE_FLOATS(max)
GRADUS_INSTANTIATE_FLOATS(max_backward)

}  // namespace gradus::cpu
