// Optimizer: parameter groups and per-parameter state; subclasses hold the update rules.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/parameter.h"

namespace gradus::optim {

/// Parameters that are treated alike.
struct ParameterGroup {
  std::vector<NamedParameter> parameters{};
  double lr_scale = 1;  ///< times the step's learning rate
  double weight_decay = 0;
  bool adapt = true;  ///< LARS: whether the trust ratio applies
};

/// One group of all parameters.
std::vector<ParameterGroup> one_group(std::vector<NamedParameter> parameters,
                                      double weight_decay = 0);

/// Two groups: matrices and convolutions with decay and LARS's adaptation; parameters of at most
/// one axis (biases, scale and shift of normalisation) with neither.
std::vector<ParameterGroup> exclude_biases_and_norms(const std::vector<NamedParameter>& parameters,
                                                     double weight_decay);

/// The state of an optimiser by name: "<slot>.<parameter>", as "exp_avg.encoder.conv1.weight", and
/// int64 scalars "step.<parameter>" and "step_count".
using OptimizerState = std::map<std::string, Tensor>;

/// Updates parameters from their gradients, which it leaves as they are. The parameters' module
/// must outlive it, and must not change its dtype or device after the first step.
class Optimizer {
 public:
  /// Names must be unique over all groups.
  explicit Optimizer(std::vector<ParameterGroup> groups);
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// One update with learning rate lr times each group's lr_scale. A parameter without a gradient
  /// is left alone, and its state with it.
  void step(double lr);
  /// Forgets the gradients of all parameters.
  void zero_grad();

  /// Number of steps made.
  std::int64_t step_count() const { return step_count_; }
  const std::vector<ParameterGroup>& groups() const { return groups_; }

  /// Everything that the next step depends on, besides parameters and options. Tensors are handles
  /// on the live state: save or clone them before the next step.
  OptimizerState state() const;
  /// Restores what state() gave for the same parameters and algorithm. All or nothing: an Error
  /// names what does not fit, and the optimiser is as it was. A parameter without an entry starts
  /// afresh.
  void load_state(const OptimizerState& state);

 protected:
  /// What a rule keeps for one parameter.
  struct ParameterState {
    std::int64_t step = 0;      ///< updates of this parameter, counting from 1 within update()
    std::vector<Tensor> slots;  ///< in the order of slot_names(), zero at first
  };

  /// Names of the tensors that the rule keeps for each parameter.
  virtual std::vector<std::string> slot_names() const = 0;
  /// Updates one parameter in place.
  virtual void update(Tensor& parameter, const Tensor& gradient, const ParameterGroup& group,
                      double lr, ParameterState& state) = 0;

 private:
  std::vector<ParameterGroup> groups_;
  std::map<std::string, ParameterState> states_;  // by parameter; empty before its first gradient
  std::int64_t step_count_ = 0;
};

/// Scales all gradients by max_norm / (norm + 1e-6) if that is below 1, where norm is the Euclidean
/// norm of all of them together, and returns norm. Gradients stay as they are if it is not finite.
double clip_grad_norm(const std::vector<NamedParameter>& parameters, double max_norm);

}  // namespace gradus::optim
