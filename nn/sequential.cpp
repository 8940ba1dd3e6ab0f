#include <gradus/nn/sequential.h>

namespace gradus::nn {

Variable Sequential::forward(const Variable& x) {
  Variable y = x;
  for (const auto& module : children()) y = (*module)(y);
  return y;
}

}  // namespace gradus::nn
