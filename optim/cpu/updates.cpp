#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "optim/internal/update_kernels.h"
#include "tensor/backend/arithmetic.h"
#include "tensor/cpu/parallel.h"

namespace gradus::cpu {
namespace {

using optim::GradientPointers;
using optim::UpdatePointers;

/// term(begin) + ... + term(end - 1) in double: 16 sums side by side, so that an addition need not
/// wait for the one before it.
template <class Term>
double sum_of(std::int64_t begin, std::int64_t end, const Term& term) {
  constexpr std::int64_t lanes = 16;
  double sums[lanes] = {};
  for (; end - begin >= lanes; begin += lanes)
    for (std::int64_t lane = 0; lane < lanes; ++lane) sums[lane] += term(begin + lane);
  for (; begin < end; ++begin) sums[0] += term(begin);
  return std::accumulate(sums, sums + lanes, 0.0);
}

/// sum (x + scale y)^2 in double; y may be null where scale is 0.
template <class T>
double sum_of_squares(const T* x, const T* y, double scale, std::int64_t n) {
  std::vector<double> partial(static_cast<std::size_t>(divide_up(n, elementwise_grain)));
  parallel_blocks(n, elementwise_grain, [&](auto begin, auto end) {
    const auto square = [](double value) { return value * value; };
    partial[begin / elementwise_grain] =
        scale == 0 ? sum_of(begin, end, [=](auto i) { return square(x[i]); })
                   : sum_of(begin, end, [=](auto i) { return square(x[i] + scale * y[i]); });
  });
  return std::accumulate(partial.begin(), partial.end(), 0.0);
}

/// Elements [begin, end) of a tensor and of the states k.
template <class Update, class T, std::size_t... k>
void apply_update(Update update, UpdatePointers<T> tensor, std::int64_t begin, std::int64_t end,
                  std::index_sequence<k...>) {
  for (std::int64_t i = begin; i < end; ++i)
    update(tensor.parameter[i], tensor.gradient[i], tensor.state[k][i]...);
}

}  // namespace

template <std::size_t slots, class Update, class T>
void apply_updates(std::span<const UpdatePointers<T>> tensors, const Update* updates,
                   const T* guard) {
  if (guard && !optim::is_finite(*guard)) return;
  for (const UpdatePointers<T>& tensor : tensors) {
    const Update& update = *updates++;
    parallel_blocks(tensor.n, elementwise_grain, [&](auto begin, auto end) {
      apply_update(update, tensor, begin, end, std::make_index_sequence<slots>());
    });
  }
}

template <class T>
void set_trust_ratios(std::span<const UpdatePointers<T>> tensors, const optim::LarsOptions& options,
                      optim::SgdUpdate* updates) {
  for (const auto& [parameter, gradient, state, n] : tensors) {
    optim::SgdUpdate& update = *updates++;
    if (!update.adapt) continue;
    const double decay = decay_in_norm(options, update);
    const double parameters = sum_of_squares<T>(parameter, nullptr, 0, n);
    const double gradients = sum_of_squares<T>(gradient, parameter, decay, n);
    set_trust(options, std::sqrt(parameters), std::sqrt(gradients), update);
  }
}

template <class T>
void clip_norm(std::span<const GradientPointers<T>> gradients, double max_norm, double* norm) {
  double squares = 0;
  for (const auto& [x, n] : gradients) squares += sum_of_squares<T>(x, nullptr, 0, n);
  *norm = std::sqrt(squares);
  const double factor = optim::clip_factor(*norm, max_norm);
  if (factor == 1) return;
  for (const auto& tensor : gradients) {
    parallel_blocks(tensor.n, elementwise_grain,
                    [x = tensor.gradient, scale = static_cast<T>(factor)](auto begin, auto end) {
                      for (std::int64_t i = begin; i < end; ++i) x[i] *= scale;
                    });
  }
}

GRADUS_INSTANTIATE_UPDATES(float)
GRADUS_INSTANTIATE_UPDATES(double)

}  // namespace gradus::cpu
