#include "optim/internal/updates.h"

#include "optim/internal/update_kernels.h"
#include "tensor/ops/support.h"

namespace gradus::optim {
namespace {

/// Checks that tensors and updates fit, and returns the tensors' pointers. What is only read is
/// asked for as const: a pointer to write through counts as a change.
template <class T, class Update>
std::vector<UpdatePointers<T>> pointers_of(std::span<const UpdateTensors> parameters,
                                           std::size_t slots, const DeviceArray<Update>& updates) {
  constexpr const char* op = Update::name;
  const Tensor& first = parameters.front().parameter;
  check(updates.size() == static_cast<std::int64_t>(parameters.size()) &&
            updates.device() == first.device(),
        op, "each of the {} parameters on {} needs an update; got {} on {}", parameters.size(),
        name(first.device()), updates.size(), name(updates.device()));
  std::vector<UpdatePointers<T>> list;
  for (const UpdateTensors& tensors : parameters) {
    const Tensor &parameter = tensors.parameter, &gradient = tensors.gradient;
    check_same_kind(op, "the first parameter", first, "parameter", parameter);
    UpdatePointers<T>& pointers = list.emplace_back();
    if (!gradient.defined()) continue;
    check_like(op, "gradient", gradient, "parameter", parameter);
    check(tensors.state.size() >= slots, op, "its state must be {} tensors; got {}", slots,
          tensors.state.size());
    for (std::size_t i = 0; i < slots; ++i) {
      Tensor state = tensors.state[i];
      check_like(op, "its state", state, "parameter", parameter);
      pointers.state[i] = state.data<T>();
    }
    Tensor written = parameter;
    pointers.parameter = written.data<T>();
    pointers.gradient = gradient.data<T>();
    pointers.n = parameter.numel();
  }
  return list;
}

}  // namespace

template <std::size_t slots, class Update>
void apply_updates(std::span<const UpdateTensors> parameters, const DeviceArray<Update>& updates,
                   const Tensor& guard) {
  if (parameters.empty()) return;
  const Tensor& first = parameters.front().parameter;
  if (guard.defined()) {
    check_same_kind(Update::name, "parameter", first, "guard", guard);
    check(guard.numel() == 1, Update::name, "guard must have one element; got shape {}",
          guard.shape());
  }
  dispatch_full_precision(Update::name, first.dtype(), [&]<class T>() {
    const auto list = pointers_of<T>(parameters, slots, updates);
    GRADUS_KERNEL(first.device(),
                  apply_updates<slots>(std::span(list), updates.data(),
                                       guard.defined() ? guard.data<T>() : nullptr));
  });
}

GRADUS_INSTANTIATE(apply_updates<0, SgdUpdate>)
GRADUS_INSTANTIATE(apply_updates<1, SgdUpdate>)
GRADUS_INSTANTIATE(apply_updates<2, AdamUpdate>)

void set_trust_ratios(std::span<const UpdateTensors> parameters, const LarsOptions& options,
                      DeviceArray<SgdUpdate>& updates) {
  if (parameters.empty()) return;
  const Tensor& first = parameters.front().parameter;
  dispatch_full_precision("lars", first.dtype(), [&]<class T>() {
    const auto list = pointers_of<T>(parameters, 0, updates);
    GRADUS_KERNEL(first.device(), set_trust_ratios(std::span(list), options, updates.data()));
  });
}

}  // namespace gradus::optim
