#include <gradus/nn/sequential.h>

#include <gradus/nn/activation.h>
#include <gradus/nn/batch_norm.h>

namespace gradus::nn {

Variable Sequential::forward(const Variable& x) {
  Variable y = x;
  for (std::size_t i = 0; i < modules_.size(); ++i) {
    auto* const batch_norm = dynamic_cast<BatchNorm*>(modules_[i]);
    const bool relu_follows =
        i + 1 < modules_.size() && dynamic_cast<ReLU*>(modules_[i + 1]) != nullptr;
    if (batch_norm != nullptr && relu_follows) {
      y = batch_norm->relu(y);
      ++i;
    } else {
      y = (*modules_[i])(y);
    }
  }
  return y;
}

}  // namespace gradus::nn
