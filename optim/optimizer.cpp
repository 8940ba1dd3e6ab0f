#include <gradus/optim/optimizer.h>

#include <cmath>
#include <map>
#include <set>

#include <gradus/tensor/check.h>
#include <gradus/tensor/ops.h>
#include <gradus/tensor/repeated_work.h>
#include <gradus/tensor/trace.h>
#include "optim/internal/update_kernels.h"
#include "optim/internal/updates.h"
#include "tensor/ops/support.h"

namespace gradus::optim {
namespace {

Tensor counter(std::int64_t value) { return from_vector(std::vector<std::int64_t>{value}, {}); }

std::int64_t read_counter(const std::string& name, const Tensor& value) {
  check(value.dtype() == DType::int64 && value.numel() == 1, "load_state",
        "{} must be one int64; got {} of shape {}", name, gradus::name(value.dtype()),
        value.shape());
  const auto count = value.item<std::int64_t>();
  constexpr std::int64_t most = std::int64_t{1} << 53;  // which float64 counts exactly
  check(count >= 0 && count <= most, "load_state", "{} must be from 0 to {}; got {}", name, most,
        count);
  return count;
}

void check_rate(double lr) {
  check(std::isfinite(lr) && lr >= 0, "optimizer",
        "the learning rate must be finite and not negative; got {}", lr);
}

bool has_gradient(const Variable& variable) {
  return variable.requires_grad() && variable.grad().defined();
}

}  // namespace

std::vector<ParameterGroup> one_group(std::vector<NamedParameter> parameters, double weight_decay) {
  return {{.parameters = std::move(parameters), .weight_decay = weight_decay}};
}

std::vector<ParameterGroup> exclude_biases_and_norms(const std::vector<NamedParameter>& parameters,
                                                     double weight_decay) {
  ParameterGroup weights{.weight_decay = weight_decay};
  ParameterGroup others{.adapt = false};
  for (const NamedParameter& parameter : parameters) {
    auto& group = parameter.variable->shape().rank() > 1 ? weights : others;
    group.parameters.push_back(parameter);
  }
  return {weights, others};
}

Optimizer::Optimizer(std::vector<ParameterGroup> groups, double lr, std::vector<std::string> state)
    : groups_(std::move(groups)), lr_(lr), state_names_(std::move(state)) {
  check_rate(lr);
  std::set<std::string> names;
  std::map<const void*, std::string> variables;
  for (const ParameterGroup& group : groups_) {
    check(std::isfinite(group.weight_decay) && group.weight_decay >= 0 &&
              std::isfinite(group.lr_scale) && group.lr_scale >= 0,
          "optimizer", "weight_decay and lr_scale must be finite and not negative; got {} and {}",
          group.weight_decay, group.lr_scale);
    for (const NamedParameter& parameter : group.parameters) {
      check(names.insert(parameter.name).second, "optimizer", "the parameter {} is given twice",
            parameter.name);
      check_leaf("optimizer", parameter.name, *parameter.variable);
      const Tensor& value = std::as_const(*parameter.variable).value();
      const void* const identity = value.numel() > 0 ? value.raw() : parameter.variable;
      const auto [known, is_new] = variables.emplace(identity, parameter.name);
      check(is_new, "optimizer", "the parameters {} and {} share their elements", known->second,
            parameter.name);
      entries_.push_back({.parameter = parameter, .group = &group});
    }
  }
  check(!names.empty(), "optimizer", "there are no parameters to train");
}

void Optimizer::step(double lr, const Tensor& guard) {
  prepare(lr);
  apply(guard);
}

void Optimizer::prepare(double lr) {
  check_rate(lr);
  std::vector<Coming> coming;
  for (Entry& entry : entries_) {
    const Variable& variable = *entry.parameter.variable;
    if (variable.requires_grad() && entry.state.empty()) {
      std::vector<Tensor> state;
      for (std::size_t i = 0; i < state_names_.size(); ++i)
        state.push_back(zeros(variable.shape(), options_of(variable.value())));
      entry.state = std::move(state);
    }
    coming.push_back({*entry.group, lr * entry.group->lr_scale, updates(entry) + 1});
  }
  set_updates(coming, entries_.front().parameter.variable->device());
  // From here on nothing throws, so that a step which cannot be prepared counts nowhere.
  for (Entry& entry : entries_) entry.step = updates(entry);
  prepared_ = true;
  ++step_count_;
}

void Optimizer::apply(const Tensor& guard) {
  check(prepared_, "optimizer", "apply() without prepare() before it");
  const TraceInterval interval("step", "optimizer");
  std::vector<UpdateTensors> parameters;
  try {
    for (Entry& entry : entries_) {
      Variable& variable = *entry.parameter.variable;
      check_leaf("optimizer", entry.parameter.name, variable);
      entry.updated = has_gradient(variable);
      parameters.push_back(
          {variable.value(), entry.updated ? variable.grad() : Tensor(), entry.state});
    }
    update(parameters, guard);
  } catch (...) {
    if (!recording()) {  // the step is not made; the run after a failed recording makes it
      prepared_ = false;
      --step_count_;
    }
    throw;
  }
}

void Optimizer::zero_grad() {
  for (const Entry& entry : entries_) entry.parameter.variable->zero_grad();
}

OptimizerState Optimizer::state() const {
  OptimizerState all{{"step_count", counter(step_count_)}};
  for (const Entry& entry : entries_) {
    if (updates(entry) == 0) continue;
    all.emplace("step." + entry.parameter.name, counter(updates(entry)));
    for (std::size_t i = 0; i < state_names_.size(); ++i)
      all.emplace(state_names_[i] + "." + entry.parameter.name, entry.state[i]);
  }
  return all;
}

void Optimizer::load_state(const OptimizerState& state) {
  std::vector<Entry> loaded = entries_;
  const auto entry = [&state](const std::string& name) -> const Tensor& {
    const auto found = state.find(name);
    check(found != state.end(), "load_state", "the state lacks {}", name);
    return found->second;
  };
  const std::int64_t step_count = read_counter("step_count", entry("step_count"));
  std::set<std::string> known{"step_count"};
  for (Entry& target : loaded) {
    const auto& [name, variable] = target.parameter;
    target.step = 0;
    target.state.clear();
    if (!state.contains("step." + name)) continue;
    target.step = read_counter("step." + name, entry("step." + name));
    known.insert("step." + name);
    for (const std::string& what : state_names_) {
      const std::string key = what + "." + name;
      const Tensor& source = entry(key);
      check(source.shape() == variable->shape() && source.dtype() == variable->dtype(),
            "load_state", "{} must be {} of shape {}; got {} of shape {}", key,
            gradus::name(variable->dtype()), variable->shape(), gradus::name(source.dtype()),
            source.shape());
      target.state.push_back(source.to(variable->device()).clone());
      known.insert(key);
    }
  }
  for (const auto& [name, tensor] : state) {
    check(known.contains(name), "load_state",
          "the state holds {}, which this optimiser does not know: it belongs to another algorithm "
          "or model",
          name);
  }
  entries_ = std::move(loaded);
  prepared_ = false;
  step_count_ = step_count;
}

Tensor clip_grad_norm(const std::vector<NamedParameter>& parameters, double max_norm) {
  check(max_norm > 0, "clip_grad_norm", "max_norm must be positive; got {}", max_norm);
  std::vector<Tensor> gradients;
  for (const NamedParameter& parameter : parameters) {
    Variable& variable = *parameter.variable;
    if (!has_gradient(variable)) continue;
    // Scaled in place, so it must be this parameter's alone.
    if (!variable.grad().unique()) variable.set_grad(variable.grad().clone());
    gradients.push_back(variable.grad());
    check_same_kind("clip_grad_norm", "the first gradient", gradients.front(), "gradient",
                    gradients.back());
  }
  if (gradients.empty()) return zeros({}, {DType::float64});
  Tensor norm = empty({}, {DType::float64, gradients.front().device()});
  dispatch_full_precision("clip_grad_norm", gradients.front().dtype(), [&]<class T>() {
    std::vector<GradientPointers<T>> list;
    for (Tensor& gradient : gradients) list.push_back({gradient.data<T>(), gradient.numel()});
    GRADUS_KERNEL(norm.device(), clip_norm<T>(list, max_norm, norm.data<double>()));
  });
  return norm;
}

}  // namespace gradus::optim
