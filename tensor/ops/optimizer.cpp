#include <gradus/tensor/optimizer_ops.h>

#include <cmath>

#include "tensor/ops/support.h"

namespace gradus {
namespace {

/// A step's fields are float64, one after the other.
template <class Step>
constexpr std::int64_t fields = sizeof(Step) / sizeof(double);

template <class Step>
Tensor pack(const std::vector<Step>& steps) {
  static_assert(sizeof(Step) % sizeof(double) == 0);
  const auto* values = reinterpret_cast<const double*>(steps.data());
  const auto count = static_cast<std::int64_t>(steps.size());
  return from_span(std::span(values, steps.size() * fields<Step>), {count, fields<Step>});
}

template <class Step, class Tensors>
void check_steps(const char* op, std::span<Tensors> tensors, const Tensor& steps) {
  check_shape(op, "steps", steps, {static_cast<std::int64_t>(tensors.size()), fields<Step>});
  check(steps.dtype() == DType::float64, op, "steps must be float64; got {}", name(steps.dtype()));
  check(steps.device() == tensors.front().parameter.device(), op,
        "steps must lie on the parameters' device, {}; got {}",
        name(tensors.front().parameter.device()), name(steps.device()));
}

void check_guard(const char* op, const Tensor& parameter, const Tensor& guard) {
  if (!guard) return;
  check_same_kind(op, "parameter", parameter, "guard", guard);
  check(guard.numel() == 1, op, "guard must have one element; got shape {}", guard.shape());
}

/// Parameter and gradient of each, and that all are of a kind.
template <class Tensors>
void check_parameters(const char* op, std::span<Tensors> tensors) {
  for (const auto& tensor : tensors) {
    check_same_kind(op, "the first parameter", tensors.front().parameter, "parameter",
                    tensor.parameter);
    if (!tensor.gradient) continue;
    check_same_kind(op, "parameter", tensor.parameter, "gradient", tensor.gradient);
    check_shape(op, "gradient", tensor.gradient, tensor.parameter.shape());
  }
}

/// State must be like the parameter.
void check_state(const char* op, const char* name, const Tensor& parameter, const Tensor& state) {
  check_shape(op, name, state, parameter.shape());
  check_same_kind(op, "parameter", parameter, name, state);
}

/// The elements, to be written; null for an undefined tensor.
template <class T>
T* pointer(const Tensor& x) {
  Tensor handle = x;  // a handle on the same elements, which may be written
  return x ? handle.data<T>() : nullptr;
}

/// The elements, to be read.
template <class T>
const T* read_pointer(const Tensor& x) {
  return x ? x.data<T>() : nullptr;
}

template <class T>
std::vector<SgdPointers<T>> sgd_pointers(std::span<const SgdTensors> tensors) {
  std::vector<SgdPointers<T>> list;
  for (const auto& [parameter, gradient, momentum] : tensors) {
    list.push_back({pointer<T>(parameter), read_pointer<T>(gradient), pointer<T>(momentum),
                    gradient ? parameter.numel() : 0});
  }
  return list;
}

}  // namespace

Tensor pack_steps(const std::vector<SgdStep>& steps) { return pack(steps); }
Tensor pack_steps(const std::vector<AdamStep>& steps) { return pack(steps); }

AdamStep adam_step(const AdamRule& rule, double lr, double weight_decay, std::int64_t step) {
  check(step >= 1, "adam_step", "steps count from 1; got {}", step);
  return {.step_size = lr / (1 - std::pow(rule.beta1, static_cast<double>(step))),
          .root_scale = 1 / std::sqrt(1 - std::pow(rule.beta2, static_cast<double>(step))),
          .decay = rule.decoupled ? 0 : weight_decay,
          .shrink = rule.decoupled ? 1 - lr * weight_decay : 1};
}

void sgd_update(std::span<SgdTensors> tensors, const Tensor& steps, const SgdRule& rule,
                const Tensor& guard) {
  if (tensors.empty()) return;
  check_parameters("sgd_update", tensors);
  for (const SgdTensors& tensor : tensors) {
    if (rule.momentum != 0 && tensor.gradient)
      check_state("sgd_update", "momentum", tensor.parameter, tensor.momentum);
  }
  check_steps<SgdStep>("sgd_update", tensors, steps);
  const Tensor& first = tensors.front().parameter;
  check_guard("sgd_update", first, guard);
  dispatch_full_precision("sgd_update", first.dtype(), [&]<class T>() {
    auto list = sgd_pointers<T>(tensors);
    if (rule.momentum == 0) {
      for (auto& pointers : list) pointers.momentum = nullptr;
    }
    GRADUS_KERNEL(first.device(),
                  sgd_update<T>(list, reinterpret_cast<const SgdStep*>(steps.data<double>()), rule,
                                read_pointer<T>(guard)));
  });
}

void adam_update(std::span<AdamTensors> tensors, const Tensor& steps, const AdamRule& rule,
                 const Tensor& guard) {
  if (tensors.empty()) return;
  check_parameters("adam_update", tensors);
  for (const AdamTensors& tensor : tensors) {
    if (!tensor.gradient) continue;
    check_state("adam_update", "mean", tensor.parameter, tensor.mean);
    check_state("adam_update", "square", tensor.parameter, tensor.square);
  }
  check_steps<AdamStep>("adam_update", tensors, steps);
  const Tensor& first = tensors.front().parameter;
  check_guard("adam_update", first, guard);
  dispatch_full_precision("adam_update", first.dtype(), [&]<class T>() {
    std::vector<AdamPointers<T>> list;
    for (const auto& [parameter, gradient, mean, square] : tensors) {
      list.push_back({pointer<T>(parameter), read_pointer<T>(gradient), pointer<T>(mean),
                      pointer<T>(square), gradient ? parameter.numel() : 0});
    }
    GRADUS_KERNEL(first.device(),
                  adam_update<T>(list, reinterpret_cast<const AdamStep*>(steps.data<double>()),
                                 rule, read_pointer<T>(guard)));
  });
}

void lars_trust(std::span<const SgdTensors> tensors, const LarsRule& rule, Tensor& steps) {
  if (tensors.empty()) return;
  check_parameters("lars_trust", tensors);
  check_steps<SgdStep>("lars_trust", tensors, steps);
  const Tensor& first = tensors.front().parameter;
  dispatch_full_precision("lars_trust", first.dtype(), [&]<class T>() {
    GRADUS_KERNEL(first.device(), lars_trust<T>(sgd_pointers<T>(tensors), rule,
                                                reinterpret_cast<SgdStep*>(steps.data<double>())));
  });
}

double norm(const Tensor& x) {
  check_floating("norm", "x", x);
  Tensor result({}, DType::float64, x.device());
  dispatch_full_precision("norm", x.dtype(), [&]<class T>() {
    // The list's pointers are not const because clip_norm writes; here they are only read.
    const GradientPointers<T> all[] = {{const_cast<T*>(x.data<T>()), x.numel()}};
    GRADUS_KERNEL(x.device(), euclidean_norm<T>(all, result.data<double>()));
  });
  return result.item<double>();
}

Tensor clip_norm(std::span<Tensor> tensors, double max_norm) {
  check(max_norm > 0, "clip_norm", "max_norm must be positive; got {}", max_norm);
  if (tensors.empty()) return zeros({}, {DType::float64});
  for (const Tensor& x : tensors) {
    check_same_kind("clip_norm", "the first tensor", tensors.front(), "tensor", x);
  }
  Tensor result({}, DType::float64, tensors.front().device());
  dispatch_full_precision("clip_norm", tensors.front().dtype(), [&]<class T>() {
    std::vector<GradientPointers<T>> list;
    for (Tensor& x : tensors) list.push_back({x.data<T>(), x.numel()});
    GRADUS_KERNEL(result.device(), clip_norm<T>(list, max_norm, result.data<double>()));
  });
  return result;
}

}  // namespace gradus
