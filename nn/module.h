// Module: a layer or a network; owns named parameters, buffers and child modules.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gradus/autograd/parameter.h>
#include <gradus/autograd/variable.h>
#include <gradus/tensor/check.h>
#include <gradus/tensor/random.h>
#include <gradus/tensor/trace.h>

namespace gradus::nn {

/// How a tensor of ours relates to PyTorch's of the same name.
enum class Layout : std::uint8_t {
  same,
  conv_weight,  ///< ours [O, kH, kW, I], PyTorch's [O, I, kH, kW]
};

/// Whether a state that is loaded must hold a tensor; what it lacks stays as it is.
enum class Presence : std::uint8_t { required, optional };

/// A tensor of a module's state under its dotted name.
struct NamedTensor {
  std::string name;
  Tensor* tensor = nullptr;
  Layout layout = Layout::same;
  Presence presence = Presence::required;
};

/// A module's own random number generator under its dotted name: its position belongs in a
/// checkpoint if a resumed run is to be exact.
struct NamedGenerator {
  std::string name;
  Generator* generator = nullptr;
};

/// The base of every layer and network. A subclass implements `forward`, keeps its parameters as
/// members and announces them in its constructor:
///
///     class Head : public Module {
///      public:
///       Head(std::int64_t features, Generator& generator)
///           : fc(add<Linear>("fc", {features, 10}, generator)) {
///         register_parameter("scale", scale);
///       }
///       Linear& fc;
///       Variable scale{ones({1}), true};
///
///      protected:
///       Variable forward(const Variable& x) override { return fc(x) * scale; }
///     };
///
/// A layer's options are its member type Options, its constructor M(options), or M(options,
/// generator) where it draws initial weights.
///
/// Names are dotted paths from the module that is asked; a module's own parameters come before its
/// children's, both in the order of registration. Not copyable: parameters have one owner. A const
/// module keeps its parts; what it hands out points to them, so that they can be trained.
class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  /// named(forward(x)); a ForwardObserver sees the output. A tensor is a constant.
  Variable operator()(const Variable& x);
  Variable operator()(const Tensor& x) { return (*this)(Variable(x)); }
  /// body(), whose Errors get this module's name and class before their path: for code that runs
  /// several modules as one.
  template <class Body>
  auto named(const Body& body) {
    const Running running(*this);
    try {
      return body();
    } catch (Error& error) {
      add_name(error);
      throw;
    }
  }

  /// The name under which the parent holds this module; empty for a root.
  const std::string& name() const { return name_; }

  /// Calls `visitor(path, module)` for this module (path "") and all below it, parents first.
  using Visitor = std::function<void(const std::string& path, Module& module)>;
  using ConstVisitor = std::function<void(const std::string& path, const Module& module)>;
  void visit(const Visitor& visitor) { visit_from(*this, "", visitor); }
  void visit(const ConstVisitor& visitor) const { visit_from(*this, "", visitor); }

  /// The parameters of this module and all below, frozen ones too.
  std::vector<NamedParameter> parameters() const;
  /// The tensors of this module and all below that are part of the state but not trained, as
  /// running statistics are.
  std::vector<NamedTensor> buffers() const;
  /// Values of parameters and buffers, module by module: what a state_dict holds.
  std::vector<NamedTensor> state() const;
  /// The random number generators of this module and all below.
  std::vector<NamedGenerator> generators() const;
  /// Number of elements of all parameters.
  std::int64_t parameter_count() const;

  /// Training or evaluation mode of this module and all below (batch norm, dropout). It never
  /// touches requires_grad.
  void train(bool on = true);
  /// Evaluation mode.
  void eval() { train(false); }
  /// Whether this module is in training mode, as it is at first.
  bool training() const { return training_; }

  // set_requires_grad and to make new Variables of the parameters: gradients are forgotten, and
  // neither copies of the old ones nor graphs that were recorded before belong to the module.

  /// Whether parameters are trained: off freezes them, and no graph is recorded for them.
  void set_requires_grad(bool on);
  /// set_requires_grad(false).
  void freeze() { set_requires_grad(false); }
  /// Forgets the gradients of all parameters.
  void zero_grad();

  /// The device of the first parameter or buffer; the CPU for a module without any.
  Device device() const;
  /// Converts parameters and floating buffers to float32 or float64; another type is an Error.
  void to(DType dtype);
  /// Moves parameters and buffers, counters too, to a device.
  void to(Device device);

 protected:
  /// The modules added to this one, in that order.
  const std::vector<std::unique_ptr<Module>>& children() const { return children_; }

  /// What the module computes.
  virtual Variable forward(const Variable& x) = 0;

  /// Takes `child` over under `name`, which must be new and without dots.
  template <class M>
  M& add(std::string name, std::unique_ptr<M> child) {
    M* const added = child.get();
    add_child(std::move(name), std::move(child));
    return *added;
  }
  /// The same with a new M(options), or M(options, generator).
  template <class M, class... Generators>
  M& add(std::string name, const typename M::Options& options, Generators&... generator) {
    return add(std::move(name), std::make_unique<M>(options, generator...));
  }
  /// The same with a new M().
  template <class M>
  M& add(std::string name) {
    return add(std::move(name), std::make_unique<M>());
  }
  /// `variable`, a member of the subclass, becomes a parameter; an undefined one is left out.
  void register_parameter(std::string name, Variable& variable, Layout layout = Layout::same);
  /// `tensor`, a member of the subclass, becomes part of the state without being trained.
  void register_buffer(std::string name, Tensor& tensor, Presence presence = Presence::required);
  /// `generator`, a member of the subclass, becomes one of generators().
  void register_generator(std::string name, Generator& generator);

 private:
  /// While one is alive, this thread runs the module, within the one that it ran before.
  class Running {
   public:
    explicit Running(const Module& module);
    ~Running();
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    /// Of the innermost running module, from the outermost.
    static std::string path();

   private:
    /// The path of the innermost running module, and its class: "encoder.conv1 (Conv2d)".
    static std::string description();
    static thread_local const Running* innermost_;
    const Module& module_;
    const Running* outer_;
    TraceInterval interval_;
  };

  /// Puts this module's name and class before the error's path.
  void add_name(Error& error) const;

  struct Parameter {
    std::string name;
    Variable* variable;
    Layout layout;
  };

  template <class Self, class SelfVisitor>
  static void visit_from(Self& module, const std::string& path, const SelfVisitor& visitor);
  void check_new_name(const std::string& name) const;
  void add_child(std::string name, std::unique_ptr<Module> child);
  template <class Convert>
  void convert_state(const Convert& convert);

  std::string name_;
  bool training_ = true;
  std::vector<Parameter> parameters_;
  std::vector<NamedTensor> buffers_;  // under their own names
  std::vector<NamedGenerator> generators_;
  std::vector<std::unique_ptr<Module>> children_;
};

/// "path.name", or the other one where one is empty.
std::string join_path(std::string_view path, std::string_view name);

/// While one is alive, every module that this thread calls reports its output:
/// `callback(path, output)` with the path from the outermost running module, innermost modules
/// first. It changes nothing of what runs: modules that run as one (nn/fused.h) don't report
/// their parts, unless there is a NoFusion. One at a time is in force, the last made of those
/// alive.
class ForwardObserver {
 public:
  using Callback = std::function<void(const std::string& path, const Tensor& output)>;
  explicit ForwardObserver(Callback callback);
  ~ForwardObserver();
  ForwardObserver(const ForwardObserver&) = delete;
  ForwardObserver& operator=(const ForwardObserver&) = delete;

 private:
  friend class Module;
  Callback callback_;
  ForwardObserver* previous_;
};

}  // namespace gradus::nn
