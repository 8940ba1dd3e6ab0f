#include <gradus/tensor/beside.h>

#include <vector>

#include "tensor/backend/runtime.h"

namespace gradus {

Beside::Beside(bool allowed, std::initializer_list<Tensor> reads) : begun_(false) {
  if (!allowed || !cuda::recording()) return;
  std::vector<std::shared_ptr<const Storage>> held;
  for (const Tensor& tensor : reads) held.push_back(tensor.storage().lock());
  begun_ = cuda::begin_beside(std::move(held));
}

Beside::~Beside() {
  if (begun_) cuda::end_beside();
}

void join_beside() noexcept { cuda::join_beside(); }

}  // namespace gradus
