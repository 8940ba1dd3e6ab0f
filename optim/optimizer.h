// Optimizer: parameter groups and per-parameter state; subclasses hold the update rules.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <gradus/autograd/parameter.h>

namespace gradus::optim {

/// Parameters that are treated alike.
struct ParameterGroup {
  std::vector<NamedParameter> parameters{};
  double lr_scale = 1;      ///< of the step's learning rate; finite, not negative
  double weight_decay = 0;  ///< finite, not negative
  bool adapt = true;        ///< LARS, Muon: whether the trust ratio applies
};

/// One group of all parameters, with this weight decay and `adapt`: what parameters alone mean to
/// an optimiser.
std::vector<ParameterGroup> one_group(std::vector<NamedParameter> parameters,
                                      double weight_decay = 0);

/// Two groups: matrices and convolutions with decay and `adapt`; parameters of at most one axis
/// (biases, scale and shift of normalisation) with neither.
std::vector<ParameterGroup> exclude_biases_and_norms(const std::vector<NamedParameter>& parameters,
                                                     double weight_decay);

/// The state of an optimiser by name: "<what>.<parameter>", as "exp_avg.encoder.conv1.weight", and
/// int64 scalars "step.<parameter>" and "step_count".
using OptimizerState = std::map<std::string, Tensor>;

struct UpdateTensors;

/// Updates parameters from their gradients, which it leaves as they are. The parameters' module
/// must outlive it, and must not change its dtype or device after the first step. All parameters
/// must have one dtype and lie on one device, and names be unique over all groups.
///
/// A step has two halves: prepare() does what changes from step to step, apply() what is always the
/// same. apply() only starts work on the device, so that a whole training step can be captured as a
/// graph and replayed (tensor/repeated_work.h):
///
///   RepeatedWork work(device, [&] { ...forward and backward...; optimizer.apply(); });
///   for (...) { optimizer.prepare(schedule(step)); work.run(); }
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// One update with learning rate lr, finite and not negative, times each group's lr_scale. A
  /// parameter without a gradient is left alone, and its state with it. Where `guard` (the loss,
  /// say: one element of the parameters' type and device) is not finite, no parameter and no state
  /// changes but for the counts of steps: they are still there when the host, which does not wait
  /// for the loss, learns of it. A step that throws is not made.
  void step(double lr, const Tensor& guard = {});
  /// The same with the options' learning rate.
  void step() { step(lr_); }

  /// The half of a step that comes before apply(), once for each run or replay of it, never within
  /// captured work: counts the step, makes state, hands the learning rate to the device.
  void prepare(double lr);
  /// The half that updates. A replay updates the parameters that had gradients when this was
  /// captured.
  void apply(const Tensor& guard = {});

  /// Forgets the gradients of all parameters.
  void zero_grad();

  /// Number of steps made.
  std::int64_t step_count() const { return step_count_; }

  /// Everything that the next step depends on, besides parameters and options. Tensors are handles
  /// on the live state: save or clone them before the next step.
  OptimizerState state() const;
  /// Restores what state() gave for the same parameters and algorithm. All or nothing: an Error
  /// names what does not fit, and the optimiser is as it was. A parameter without an entry starts
  /// afresh. Work that was captured before must be captured anew.
  void load_state(const OptimizerState& state);

 protected:
  /// The next update of a parameter, its `step`th, counting from 1.
  struct Coming {
    const ParameterGroup& group;
    double lr;
    std::int64_t step;
  };

  /// `lr`: of a step() that is given none; `state`: names of the tensors that the rule keeps for
  /// each parameter, which are zero at first.
  Optimizer(std::vector<ParameterGroup> groups, double lr, std::vector<std::string> state);

  /// Hands the device what it needs for the next update of each parameter.
  virtual void set_updates(const std::vector<Coming>& coming, Device device) = 0;
  /// Updates all parameters in place, in the order of set_updates.
  virtual void update(const std::vector<UpdateTensors>& parameters, const Tensor& guard) = 0;

 private:
  /// A parameter with what the rule keeps for it.
  struct Entry {
    NamedParameter parameter;
    const ParameterGroup* group;
    std::int64_t step = 0;        // updates before the step that prepare() began
    std::vector<Tensor> state{};  // empty before it was first trainable
    bool updated = false;         // whether apply(), or its replay, updates it
  };

  std::int64_t updates(const Entry& entry) const {
    return entry.step + (prepared_ && entry.updated ? 1 : 0);
  }

  std::vector<ParameterGroup> groups_;
  double lr_;
  std::vector<Entry> entries_;  // all parameters, group by group
  std::vector<std::string> state_names_;
  bool prepared_ = false;  // whether a step was begun that entries do not count yet
  std::int64_t step_count_ = 0;
};

/// Scales all gradients by max_norm / (norm + 1e-6) if that is below 1, where norm is the Euclidean
/// norm of all of them together and max_norm > 0. Gradients stay as they are if norm is not finite.
/// Returns norm, a float64 scalar on the parameters' device (0 on the CPU without gradients), and
/// waits for nothing. Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural
/// networks", ICML 2013.
Tensor clip_grad_norm(const std::vector<NamedParameter>& parameters, double max_norm);

}  // namespace gradus::optim
