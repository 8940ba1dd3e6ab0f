#include <gradus/nn/sequential.h>

namespace gradus::nn {

Variable Sequential::forward(const Variable& x) {
  Variable y = x;
  for (Module* const module : modules_) y = (*module)(y);
  return y;
}

}  // namespace gradus::nn
