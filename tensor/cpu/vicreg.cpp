// The VICReg loss in three passes, with sums in double.
#include <algorithm>
#include <array>

#include "tensor/backend/instantiate.h"
#include "tensor/cpu/parallel.h"

namespace gradus::cpu {
namespace {

/// Columns that a thread takes at a time: rows are read in pieces of several cache lines.
constexpr std::int64_t columns_at_once = 64;
using Sums = std::array<double, columns_at_once>;

/// Centres columns [begin, end) of z [N, D] and gives their variances.
template <class T>
void centre(const T* z, T* centred, T* variance, std::int64_t N, std::int64_t D, std::int64_t begin,
            std::int64_t end) {
  Sums mean{}, squares{};
  for (std::int64_t i = 0; i < N; ++i)
    for (std::int64_t j = begin; j < end; ++j)
      mean[static_cast<std::size_t>(j - begin)] += static_cast<double>(z[i * D + j]);
  for (double& sum : mean) sum /= static_cast<double>(N);
  for (std::int64_t i = 0; i < N; ++i) {
    for (std::int64_t j = begin; j < end; ++j) {
      const auto c = static_cast<std::size_t>(j - begin);
      const double value = static_cast<double>(z[i * D + j]) - mean[c];
      centred[i * D + j] = static_cast<T>(value);
      squares[c] += value * value;
    }
  }
  for (std::int64_t j = begin; j < end; ++j)
    variance[j] =
        static_cast<T>(squares[static_cast<std::size_t>(j - begin)] / static_cast<double>(N - 1));
}

}  // namespace

template <class T>
void vicreg_columns(const T* z, T* centred, T* variance, T* spread, const VICRegProblem& p) {
  const std::int64_t view = p.N * p.D;
  parallel_blocks(p.D, columns_at_once, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t v = 0; v < p.V; ++v)
      centre(z + v * view, centred + v * view, variance + v * p.D, p.N, p.D, begin, end);
    Sums sums{};
    for (std::int64_t i = 0; i < p.N; ++i)
      for (std::int64_t j = begin; j < end; ++j)
        sums[static_cast<std::size_t>(j - begin)] +=
            static_cast<double>(spread_of_views(z + i * p.D + j, view, p.V));
    for (std::int64_t j = begin; j < end; ++j)
      spread[j] = static_cast<T>(sums[static_cast<std::size_t>(j - begin)]);
  });
}

template <class T>
void vicreg_values(const T* spread, const T* off_diagonal, T* variance, T* scatter, T* values,
                   const VICRegProblem& p) {
  double distances = 0, hinges = 0;
  for (std::int64_t j = 0; j < p.D; ++j) distances += static_cast<double>(spread[j]);
  for (std::int64_t j = 0; j < p.V * p.D; ++j) {
    const StdHinge<T> hinge(variance[j], p.eps);
    hinges += static_cast<double>(hinge.value);
    variance[j] = hinge.inverse;
    scatter[j * p.D + j % p.D] = 0;
  }
  write_vicreg_values(distances, hinges, static_cast<double>(*off_diagonal), values, p);
}

template <class T>
void vicreg_backward(const T* dvalues, const T* z, const T* centred, const T* inverse_std, T* dz,
                     const VICRegProblem& p) {
  const VICRegGradient<T> gradient(dvalues, p);
  const std::int64_t view = p.N * p.D;
  parallel_rows(p.N, p.V * p.D, [=](std::int64_t i) {
    for (std::int64_t j = 0; j < p.D; ++j) {
      const std::int64_t at = i * p.D + j;
      gradient.write(z + at, centred + at, inverse_std + j, dz + at, view, p);
    }
  });
}

GRADUS_INSTANTIATE_FLOAT_AND_DOUBLE(vicreg_columns)
GRADUS_INSTANTIATE_FLOAT_AND_DOUBLE(vicreg_values)
GRADUS_INSTANTIATE_FLOAT_AND_DOUBLE(vicreg_backward)

}  // namespace gradus::cpu
