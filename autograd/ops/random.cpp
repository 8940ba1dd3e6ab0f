#include <gradus/autograd/ops.h>

namespace gradus {

Variable dropout(const Variable& x, double p, Generator& generator) {
  return mul(x, Variable(dropout_mask(x.shape(), p, generator, options_of(x.value()))));
}

}  // namespace gradus
