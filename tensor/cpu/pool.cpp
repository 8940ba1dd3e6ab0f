// Pooling. Forward kernels run over rows of outputs, backward kernels over rows of inputs, which
// gather from the windows that cover them: every element is written by one thread.
#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "tensor/backend/instantiate.h"
#include "tensor/backend/pooling.h"
#include "tensor/cpu/parallel.h"

namespace gradus::cpu {
namespace {

/// Calls function(n, row) for each row of N images of `height` rows of `row_elements`, in parallel.
template <class Function>
void for_each_row(std::int64_t N, std::int64_t height, std::int64_t row_elements,
                  const Function& function) {
  parallel_rows(N * height, row_elements,
                [&](std::int64_t i) { function(i / height, i % height); });
}

/// The C elements of one position while they are summed: the elements themselves, or floats where
/// T would round each sum.
template <class T>
class ChannelSums {
 public:
  explicit ChannelSums(std::int64_t C) : C_(C), wide_(in_place ? 0 : static_cast<std::size_t>(C)) {}
  /// Zeros, to be added to; write() puts the result in y.
  Compute<T>* start(T* y) {
    y_ = y;
    Compute<T>* sums = nullptr;
    if constexpr (in_place) {
      sums = y;
    } else {
      sums = wide_.data();
    }
    std::fill_n(sums, C_, Compute<T>(0));
    return sums;
  }
  void write() {
    if constexpr (!in_place)
      for (std::int64_t c = 0; c < C_; ++c) y_[c] = static_cast<T>(wide_[c]);
  }

 private:
  static constexpr bool in_place = std::is_same_v<T, Compute<T>>;
  std::int64_t C_;
  std::vector<Compute<T>> wide_;
  T* y_ = nullptr;
};

/// Window (p, q) of an image, whose C elements of the output begin at `at`.
struct Window {
  std::int64_t p, q, at;
};

/// dinput = for each pixel the sum of what the windows that cover it give: add(dx, pixel, window)
/// adds to its C elements; pixel is h * W + w.
template <class T, class Add>
void gather_from_windows(T* dinput, const Pool2dGeometry& g, const Add& add) {
  const Pooling<std::int64_t> axes(g);
  for_each_row(g.N, g.H, g.W * g.C, [&](std::int64_t n, std::int64_t h) {
    const Range rows = axes.rows.windows_over(h);
    ChannelSums<T> sums(g.C);
    for (std::int64_t w = 0; w < g.W; ++w) {
      const Range columns = axes.columns.windows_over(w);
      Compute<T>* dx = sums.start(dinput + ((n * g.H + h) * g.W + w) * g.C);
      for (std::int64_t p = rows.begin; p < rows.end; ++p) {
        for (std::int64_t q = columns.begin; q < columns.end; ++q)
          add(dx, h * g.W + w, Window{p, q, ((n * g.out_height + p) * g.out_width + q) * g.C});
      }
      sums.write();
    }
  });
}

template <class T>
bool is_nan(T x) {
  return std::isnan(static_cast<Compute<T>>(x));
}

}  // namespace

template <class T>
void max_pool2d(const T* input, T* output, std::int64_t* index, const Pool2dGeometry& g) {
  const Pooling<std::int64_t> axes(g);
  for_each_row(g.N, g.out_height, g.out_width * g.C, [&](std::int64_t n, std::int64_t p) {
    const Range rows = axes.rows.window(p);
    for (std::int64_t q = 0; q < g.out_width; ++q) {
      const Range columns = axes.columns.window(q);
      const std::int64_t at = ((n * g.out_height + p) * g.out_width + q) * g.C;
      T* y = output + at;
      std::int64_t* arg = index + at;
      const std::int64_t first = rows.begin * g.W + columns.begin;
      std::copy_n(input + (n * g.H * g.W + first) * g.C, g.C, y);
      std::fill_n(arg, g.C, first);
      for (std::int64_t h = rows.begin; h < rows.end; ++h) {
        for (std::int64_t w = columns.begin; w < columns.end; ++w) {
          const T* x = input + ((n * g.H + h) * g.W + w) * g.C;
          for (std::int64_t c = 0; c < g.C; ++c) {
            const bool better = x[c] > y[c] || (is_nan(x[c]) && !is_nan(y[c]));
            y[c] = better ? x[c] : y[c];
            arg[c] = better ? h * g.W + w : arg[c];
          }
        }
      }
    }
  });
}

template <class T>
void max_pool2d_backward(const T* doutput, const std::int64_t* index, T* dinput,
                         const Pool2dGeometry& g) {
  gather_from_windows(dinput, g, [=](Compute<T>* dx, std::int64_t pixel, const Window& window) {
    const T* dy = doutput + window.at;
    const std::int64_t* arg = index + window.at;
    for (std::int64_t c = 0; c < g.C; ++c) dx[c] += arg[c] == pixel ? dy[c] : T(0);
  });
}

template <class T>
void avg_pool2d(const T* input, T* output, const Pool2dGeometry& g) {
  const Pooling<std::int64_t> axes(g);
  for_each_row(g.N, g.out_height, g.out_width * g.C, [&](std::int64_t n, std::int64_t p) {
    const Range rows = axes.rows.window(p);
    ChannelSums<T> sums(g.C);
    std::vector<Compute<T>> row(static_cast<std::size_t>(g.C));  // lest large sums drop small terms
    for (std::int64_t q = 0; q < g.out_width; ++q) {
      const Range columns = axes.columns.window(q);
      Compute<T>* y = sums.start(output + ((n * g.out_height + p) * g.out_width + q) * g.C);
      for (std::int64_t h = rows.begin; h < rows.end; ++h) {
        std::fill(row.begin(), row.end(), Compute<T>(0));
        for (std::int64_t w = columns.begin; w < columns.end; ++w) {
          const T* x = input + ((n * g.H + h) * g.W + w) * g.C;
          for (std::int64_t c = 0; c < g.C; ++c) row[c] += x[c];
        }
        for (std::int64_t c = 0; c < g.C; ++c) y[c] += row[c];
      }
      const auto divisor = axes.divisor<Compute<T>>(p, q);
      for (std::int64_t c = 0; c < g.C; ++c) y[c] /= divisor;
      sums.write();
    }
  });
}

template <class T>
void avg_pool2d_backward(const T* doutput, T* dinput, const Pool2dGeometry& g) {
  const Pooling<std::int64_t> axes(g);
  gather_from_windows(dinput, g, [&](Compute<T>* dx, std::int64_t, const Window& window) {
    const T* dy = doutput + window.at;
    const auto divisor = axes.divisor<Compute<T>>(window.p, window.q);
    for (std::int64_t c = 0; c < g.C; ++c) dx[c] += dy[c] / divisor;
  });
}

GRADUS_INSTANTIATE_FLOATS(max_pool2d)
GRADUS_INSTANTIATE_FLOATS(max_pool2d_backward)
GRADUS_INSTANTIATE_FLOATS(avg_pool2d)
GRADUS_INSTANTIATE_FLOATS(avg_pool2d_backward)

}  // namespace gradus::cpu
