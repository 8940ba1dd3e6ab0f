// What the backward of a batch norm reads; shared by norm.cpp and fused.cpp.
#pragma once

#include <gradus/autograd/ops.h>
#include <gradus/autograd/saved_tensor.h>

namespace gradus {

/// What a batch norm's gradients read, saved; beta where a ReLU follows, else undefined.
class SavedNorm {
 public:
  SavedNorm(const Variable& x, const BatchStatistics& statistics, const Variable& gamma,
            const Variable& beta = {})
      : x_(x), mean_(statistics.mean), variance_(statistics.variance), gamma_(gamma), beta_(beta) {}

  struct Values {
    Tensor x;
    BatchStatistics statistics;
    Tensor gamma, beta;
  };
  /// Throws Error if one was changed since.
  Values get() const {
    return {x_.get(), {mean_.get(), variance_.get()}, gamma_.get(), beta_.get()};
  }

 private:
  SavedTensor x_, mean_, variance_, gamma_, beta_;
};

}  // namespace gradus
