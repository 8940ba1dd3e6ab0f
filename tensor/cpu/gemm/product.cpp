#include "tensor/cpu/gemm/product.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "tensor/backend/instantiate.h"
#include "tensor/cpu/gemm/packing.h"
#include "tensor/cpu/parallel.h"

namespace gradus::cpu {
namespace {

/// Both factors are packed into words along the depth k: op(a) by rows, or by columns where it is
/// transposed, and op(b) by panels. Each task multiplies a block of rows by a panel.
template <class T, class Word, class Out>
class Product {
 public:
  Product(const T* a, const T* b, Out* c, const MatmulGeometry& g)
      : kernels_(simd::kernels()),
        a_(a),
        b_(b),
        c_(c),
        g_(g),
        words_(divide_up(g.k, per_word)),
        panels_(divide_up(g.n, kernels_.panel)),
        a_stride_(spread(g.transpose_a ? g.m : words_)) {}

  void run() const {
    const std::int64_t a_rows = g_.transpose_a ? words_ : g_.m;
    const std::int64_t panel_size = words_ * kernels_.panel;
    const Scratch<Word> a_memory(a_rows * a_stride_), b_memory(panels_ * panel_size);
    Word *const a = a_memory.data(), *const b = b_memory.data();
    const std::int64_t most_rows = 8 * kernels_.rows;
    const std::int64_t blocks = divide_up(g_.m, most_rows);
    const ThreadScratch<float> scratch(most_rows * kernels_.panel);
    constexpr double worth_threads = 1e5;  // multiplications
    const double work = static_cast<double>(g_.m) * static_cast<double>(g_.n * g_.k);
#pragma omp parallel if (work >= worth_threads)
    {
#pragma omp for schedule(static) nowait
      for (std::int64_t i = 0; i < a_rows; ++i) pack_a(i, a + i * a_stride_);
#pragma omp for schedule(dynamic)
      for (std::int64_t p = 0; p < panels_; ++p) pack_b(p, b + p * panel_size);
#pragma omp for collapse(2) schedule(dynamic)
      for (std::int64_t p = 0; p < panels_; ++p) {
        for (std::int64_t i = 0; i < blocks; ++i) {
          const Range rows = part_of(g_.m, blocks, i);
          if (g_.symmetric && rows.end <= p * kernels_.panel) continue;  // above the diagonal
          multiply(a, rows, b + p * panel_size, p, scratch.get());
        }
      }
    }
    if (g_.symmetric) mirror();
  }

 private:
  static constexpr std::int64_t per_word = simd::per_word<Word>;

  /// A row of op(a), [words of k]; or one word of each of its rows, [m].
  void pack_a(std::int64_t i, Word* to) const {
    if (g_.transpose_a) {
      const std::int64_t k = i * per_word;
      interleave_rows(a_ + k * g_.m, g_.m, std::min(per_word, g_.k - k), g_.m, to, g_.m);
    } else {
      using Element = simd::Element<Word>;
      Element* const elements = reinterpret_cast<Element*>(to);
      copy_elements(a_ + i * g_.k, g_.k, elements);
      std::fill(elements + g_.k, elements + words_ * per_word, Element(0.0f));
    }
  }

  /// to[word][column in panel], zero for columns >= n.
  void pack_b(std::int64_t p, Word* to) const {
    const std::int64_t first = p * kernels_.panel;
    const std::int64_t count = columns_of(p);
    if (count < kernels_.panel) std::fill_n(to, words_ * kernels_.panel, Word{});
    if (!g_.transpose_b) {
      return interleave_rows(b_ + first, g_.n, g_.k, count, to, kernels_.panel);
    }
    // Some columns at a time: rows of b at powers of two compete for the same places in a cache.
    constexpr std::int64_t most = 8;
    for (std::int64_t j = 0; j < count; j += most) {
      const T* const from = b_ + (first + j) * g_.k;
      if (count - j >= most) {
        transpose_words(from, std::integral_constant<std::int64_t, most>{}, to + j);
      } else {
        transpose_words(from, count - j, to + j);
      }
    }
  }

  /// to[word][row] for some rows of b, [rows, k].
  template <class Rows>
  void transpose_words(const T* from, Rows rows, Word* to) const {
    const std::int64_t whole = g_.k / per_word;
    for (std::int64_t w = 0; w < whole; ++w, to += kernels_.panel) {
      for (std::int64_t j = 0; j < rows; ++j) {
        const T* const elements = from + j * g_.k + w * per_word;
        if constexpr (per_word > 1) {
          std::memcpy(to + j, elements, sizeof(Word));
        } else {
          to[j] = static_cast<float>(*elements);
        }
      }
    }
    if constexpr (per_word > 1) {
      for (std::int64_t j = 0; whole < words_ && j < rows; ++j) {
        to[j] = {from[j * g_.k + g_.k - 1], T(0.0f)};
      }
    }
  }

  std::int64_t columns_of(std::int64_t p) const {
    return std::min<std::int64_t>(kernels_.panel, g_.n - p * kernels_.panel);
  }

  /// The part of c above the diagonal from the part below it, by blocks that stay in a cache.
  void mirror() const {
    constexpr std::int64_t side = 32;
    parallel_blocks(g_.m, side, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t first = begin; first < g_.n; first += side) {
        const std::int64_t last = std::min(first + side, g_.n);
        for (std::int64_t i = begin; i < end; ++i)
          for (std::int64_t j = std::max(first, i + 1); j < last; ++j)
            c_[i * g_.n + j] = c_[j * g_.n + i];
      }
    });
  }

  /// c[rows][panel p]; `sums` has room for as much.
  void multiply(const Word* a, const Range& rows, const Word* b, std::int64_t p,
                float* sums) const {
    const simd::LeftMatrix<Word> left =
        g_.transpose_a ? simd::LeftMatrix<Word>{a + rows.begin, 1, a_stride_}
                       : simd::LeftMatrix<Word>{a + rows.begin * a_stride_, a_stride_, 1};
    Out* to = c_ + rows.begin * g_.n + p * kernels_.panel;
    const std::int64_t count = columns_of(p);
    kernels_.multiply<Word>()(left, rows.size(), b, kernels_.panel, {words_}, sums, kernels_.panel,
                              false);
    const float scale = static_cast<float>(g_.scale);
    for (std::int64_t i = 0; i < rows.size(); ++i, to += g_.n, sums += kernels_.panel) {
      for (std::int64_t j = 0; j < count; ++j) to[j] = Out(scale * sums[j]);
    }
  }

  const simd::Kernels& kernels_;
  const T* a_;
  const T* b_;
  Out* c_;
  MatmulGeometry g_;
  std::int64_t words_;  // along the depth
  std::int64_t panels_;
  std::int64_t a_stride_;  // between rows of the packed a
};

}  // namespace

template <class T, class Out>
void multiply_blocked(const T* a, const T* b, Out* c, const MatmulGeometry& g) {
  if (g.m == 0 || g.n == 0) return;
  simd::with_word<T>([&](auto word) { Product<T, decltype(word), Out>(a, b, c, g).run(); });
}

GRADUS_INSTANTIATE(multiply_blocked<float, float>)
GRADUS_INSTANTIATE(multiply_blocked<BFloat16, float>)
GRADUS_INSTANTIATE(multiply_blocked<BFloat16, BFloat16>)

}  // namespace gradus::cpu
