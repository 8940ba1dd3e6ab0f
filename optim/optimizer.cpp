#include "optim/optimizer.h"

#include <cmath>
#include <set>

#include "tensor/check.h"
#include "tensor/ops.h"
#include "tensor/optimizer_ops.h"

namespace gradus::optim {
namespace {

Tensor counter(std::int64_t value) { return from_vector(std::vector<std::int64_t>{value}, {}); }

std::int64_t read_counter(const std::string& name, const Tensor& value) {
  check(value.dtype() == DType::int64 && value.numel() == 1, "load_state",
        "{} must be one int64; got {} of shape {}", name, gradus::name(value.dtype()),
        value.shape());
  const auto count = value.item<std::int64_t>();
  check(count >= 0, "load_state", "{} must not be negative; got {}", name, count);
  return count;
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

Optimizer::Optimizer(std::vector<ParameterGroup> groups) : groups_(std::move(groups)) {
  std::set<std::string> names;
  for (const ParameterGroup& group : groups_) {
    check(group.weight_decay >= 0 && group.lr_scale >= 0, "optimizer",
          "weight_decay and lr_scale must not be negative; got {} and {}", group.weight_decay,
          group.lr_scale);
    for (const NamedParameter& parameter : group.parameters) {
      check(names.insert(parameter.name).second, "optimizer", "the parameter {} is given twice",
            parameter.name);
    }
  }
  check(!names.empty(), "optimizer", "there are no parameters to train");
}

void Optimizer::step(double lr) {
  check(std::isfinite(lr) && lr >= 0, "optimizer",
        "the learning rate must be finite and not negative; got {}", lr);
  ++step_count_;
  for (const ParameterGroup& group : groups_) {
    for (const NamedParameter& parameter : group.parameters) {
      if (!has_gradient(*parameter.variable)) continue;
      Tensor& value = parameter.variable->value();
      ParameterState& state = states_[parameter.name];
      if (state.step++ == 0) {
        state.slots.clear();
        for (std::size_t i = 0; i < slot_names().size(); ++i) {
          state.slots.push_back(zeros(value.shape(), options_of(value)));
        }
      }
      update(value, parameter.variable->grad(), group, lr * group.lr_scale, state);
    }
  }
}

void Optimizer::zero_grad() {
  for (const ParameterGroup& group : groups_) {
    for (const NamedParameter& parameter : group.parameters) {
      if (parameter.variable->requires_grad()) parameter.variable->zero_grad();
    }
  }
}

OptimizerState Optimizer::state() const {
  const std::vector<std::string> slots = slot_names();
  OptimizerState all{{"step_count", counter(step_count_)}};
  for (const auto& [parameter, state] : states_) {
    all.emplace("step." + parameter, counter(state.step));
    for (std::size_t i = 0; i < slots.size(); ++i) {
      all.emplace(slots[i] + "." + parameter, state.slots[i]);
    }
  }
  return all;
}

void Optimizer::load_state(const OptimizerState& state) {
  const std::vector<std::string> slots = slot_names();
  std::map<std::string, ParameterState> loaded;
  const auto entry = [&state](const std::string& name) -> const Tensor& {
    const auto found = state.find(name);
    check(found != state.end(), "load_state", "the state lacks {}", name);
    return found->second;
  };
  const std::int64_t step_count = read_counter("step_count", entry("step_count"));
  std::set<std::string> known{"step_count"};
  for (const ParameterGroup& group : groups_) {
    for (const auto& [name, variable] : group.parameters) {
      if (!state.contains("step." + name)) continue;
      ParameterState& target = loaded[name];
      target.step = read_counter("step." + name, entry("step." + name));
      known.insert("step." + name);
      for (const std::string& slot : slots) {
        const std::string key = slot + "." + name;
        const Tensor& source = entry(key);
        check(source.shape() == variable->shape() && source.dtype() == variable->dtype(),
              "load_state", "{} must be {} of shape {}; got {} of shape {}", key,
              gradus::name(variable->dtype()), variable->shape(), gradus::name(source.dtype()),
              source.shape());
        target.slots.push_back(source.to(variable->device()).clone());
        known.insert(key);
      }
    }
  }
  for (const auto& [name, tensor] : state) {
    check(known.contains(name), "load_state",
          "the state holds {}, which this optimiser does not know: it belongs to another algorithm "
          "or model",
          name);
  }
  states_ = std::move(loaded);
  step_count_ = step_count;
}

double clip_grad_norm(const std::vector<NamedParameter>& parameters, double max_norm) {
  check(max_norm > 0, "clip_grad_norm", "max_norm must be positive; got {}", max_norm);
  double sum_of_squares = 0;
  for (const NamedParameter& parameter : parameters) {
    if (!has_gradient(*parameter.variable)) continue;
    const double gradient_norm = norm(parameter.variable->grad());
    sum_of_squares += gradient_norm * gradient_norm;
  }
  const double total = std::sqrt(sum_of_squares);
  const double scale = max_norm / (total + 1e-6);
  if (!std::isfinite(total) || scale >= 1) return total;
  for (const NamedParameter& parameter : parameters) {
    if (!has_gradient(*parameter.variable)) continue;
    parameter.variable->set_grad(affine(parameter.variable->grad(), scale, 0));
  }
  return total;
}

}  // namespace gradus::optim
