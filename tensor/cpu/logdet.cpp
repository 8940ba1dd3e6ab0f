// Determinants and inverses of positive definite matrices: Eigen's Cholesky factorisation, one
// matrix a task. It is done in double, whatever the elements: the cost is small, and float would
// lose as many digits as the condition number has.
#include <Eigen/Cholesky>
#include <limits>

#include "tensor/backend/instantiate.h"
#include "tensor/cpu/parallel.h"

namespace gradus::cpu {

template <class T>
void logdet(const T* x, T* y, T* inverse, std::int64_t batch, std::int64_t n) {
  using Elements = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Double = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  constexpr T nan = std::numeric_limits<T>::quiet_NaN();
  parallel_tasks(batch, [&](std::int64_t i) {
    const Eigen::Map<const Elements> matrix(x + i * n * n, n, n);
    Eigen::Map<Elements> result(inverse + i * n * n, n, n);
    const Eigen::LLT<Double, Eigen::Upper> factor(matrix.template cast<double>());
    if (factor.info() == Eigen::Success) {
      y[i] = static_cast<T>(2 * factor.matrixLLT().diagonal().array().log().sum());
      result = factor.solve(Double::Identity(n, n)).template cast<T>();
    } else {
      y[i] = nan;
      result.setConstant(nan);
    }
  });
}

GRADUS_INSTANTIATE_FLOAT_AND_DOUBLE(logdet)

}  // namespace gradus::cpu
