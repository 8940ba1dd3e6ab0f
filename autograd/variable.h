// Variable: a tensor that remembers how it was computed, so that gradients can flow back.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <gradus/tensor/tensor.h>

namespace gradus {

class Variable;

/// Gradients of a node's inputs, in order, given the gradient of its output. An undefined tensor
/// means no gradient. A gradient may have the shape that its input was broadcast to: the engine
/// sums it back.
/// One that takes `doutput` by value may free it, and overwrite it where it is unique().
using BackwardFunction = std::function<std::vector<Tensor>(Tensor doutput)>;
/// One that adds up the gradient itself, on its way: doutput + second, which may be undefined.
using BackwardOfTwo = std::function<std::vector<Tensor>(Tensor doutput, Tensor second)>;

/// Computes a value again.
using Recompute = std::shared_ptr<const std::function<Tensor()>>;

/// A node of the graph: how one value was computed from others. A leaf (a parameter) has no
/// backward function; gradients accumulate in it.
struct Node {
  std::string name;                           ///< the op, for errors
  Shape shape;                                ///< of the value
  TensorOptions options;                      ///< of the value
  Tensor gradient;                            ///< of a leaf: accumulated so far
  std::vector<std::shared_ptr<Node>> inputs;  ///< null for inputs that need no gradient
  BackwardFunction backward;
  BackwardOfTwo backward_of_two;  ///< in place of `backward`, where an op has one
  /// Where ops are not to keep the value for backward (recomputed), else null.
  Recompute recompute;
  bool leaf = false;
  bool freed = false;  ///< backward has run and released what it needed

  Node(std::string_view op, const Tensor& value)
      : name(op), shape(value.shape()), options(options_of(value)) {}
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  /// Frees what backward would read.
  void release();
  /// Takes a graph of any depth apart without recursion.
  ~Node();
};

/// What backward calls with a leaf.
using LeafFunction = std::function<void(const std::shared_ptr<Node>& leaf)>;

/// A value and its place in the graph. Copies are handles on the same value and node.
class Variable {
 public:
  Variable() = default;
  /// A constant, or with `requires_grad` a leaf that gradients accumulate in.
  explicit Variable(Tensor value, bool requires_grad = false);

  bool defined() const { return value_.defined(); }

  const Tensor& value() const { return value_; }
  /// To change its elements, as an optimiser does; another shape, type or device needs a new
  /// Variable. No graph records a change; a backward that would still read the old value throws
  /// Error.
  Tensor& value() { return value_; }
  const Shape& shape() const { return value_.shape(); }
  std::int64_t size(int axis) const { return value_.size(axis); }
  std::int64_t numel() const { return value_.numel(); }
  DType dtype() const { return value_.dtype(); }
  Device device() const { return value_.device(); }
  /// The element of a value that has but one (Tensor::item).
  template <class T>
  T item() const {
    return value_.item<T>();
  }

  /// Whether gradients flow to this value: a leaf, or computed from one.
  bool requires_grad() const { return node_ != nullptr; }
  /// The gradient accumulated in a leaf; undefined before the first backward. An Error, as in
  /// set_grad, for what is no leaf.
  const Tensor& grad() const;
  /// Replaces the gradient of a leaf by one of its shape, type and device, or by none (undefined).
  void set_grad(Tensor gradient);
  /// Forgets the gradient of a leaf.
  void zero_grad();

  /// The same value as a constant: gradients stop here.
  Variable detach() const { return Variable(value_); }

  /// Adds sum(doutput d(this)/d(leaf)) to every leaf's gradient; `doutput`, of this value's shape,
  /// type and device, is 1 where it is not given, and then this must have one element. The graph is
  /// freed as it is walked, unless `retain_graph`. If it throws, the leaves' gradients are what
  /// they were before. It throws Error if a tensor that it reads was changed in place after the
  /// forward pass that used it. `when_complete` is called with each leaf as soon as nothing more
  /// will be added to its gradient, while others are still to come: in an order that depends on
  /// nothing but the graph. Of graphs that share a leaf, one thread at a time may walk one.
  void backward(Tensor doutput = {}, bool retain_graph = false,
                const LeafFunction& when_complete = {}) const;

  /// How the value was computed; null for a constant.
  const std::shared_ptr<Node>& node() const { return node_; }

 private:
  friend Variable make_variable(std::string_view, Tensor, std::initializer_list<const Variable*>,
                                BackwardFunction);
  friend Variable make_variable(std::string_view, Tensor, std::span<const Variable>,
                                BackwardFunction);
  friend Variable make_variable(std::string_view, Tensor, std::initializer_list<const Variable*>,
                                BackwardOfTwo);
  void check_like_value(std::string_view where, const Tensor& gradient) const;
  Tensor value_;
  std::shared_ptr<Node> node_;
};

/// While one is alive, ops of this thread record no graph.
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;
};

/// While one is alive, ops of this thread record a graph, even within a NoGrad.
class EnableGrad {
 public:
  EnableGrad();
  ~EnableGrad();
  EnableGrad(const EnableGrad&) = delete;
  EnableGrad& operator=(const EnableGrad&) = delete;

 private:
  int no_grad_depth_;  ///< of the NoGrads outside
};

/// Whether ops of this thread record a graph.
bool grad_enabled();

/// The result of an op: `value` with a node that leads to `inputs`, or a constant if none of them
/// needs a gradient or NoGrad is in force (then `backward` is dropped with all that it captured).
/// Closures capture tensors (those that they read as SavedTensors), never Variables.
Variable make_variable(std::string_view name, Tensor value,
                       std::initializer_list<const Variable*> inputs, BackwardFunction backward);
Variable make_variable(std::string_view name, Tensor value, std::span<const Variable> inputs,
                       BackwardFunction backward);
Variable make_variable(std::string_view name, Tensor value,
                       std::initializer_list<const Variable*> inputs, BackwardOfTwo backward);

}  // namespace gradus

/// fmt::print("{}", x): its value, as a tensor is printed.
template <>
struct fmt::formatter<gradus::Variable> : fmt::formatter<gradus::Tensor> {
  template <class Context>
  auto format(const gradus::Variable& x, Context& context) const {
    return fmt::formatter<gradus::Tensor>::format(x.value(), context);
  }
};
