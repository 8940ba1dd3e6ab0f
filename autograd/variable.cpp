#include <gradus/autograd/variable.h>

#include <utility>

#include <gradus/autograd/saved_tensor.h>
#include <gradus/tensor/check.h>

namespace gradus {
namespace {

thread_local int no_grad_depth = 0;

/// A node for the result of an op, or null if none of its inputs needs a gradient or NoGrad is in
/// force.
std::shared_ptr<Node> make_node(std::string_view name, const Tensor& value,
                                std::span<const Variable* const> inputs) {
  if (!grad_enabled()) return nullptr;
  auto node = std::make_shared<Node>(name, value);
  bool any = false;
  for (const Variable* input : inputs) {
    note_read(input->value());
    node->inputs.push_back(input->node());
    any = any || input->requires_grad();
  }
  return any ? node : nullptr;
}

}  // namespace

void Node::release() {
  backward = nullptr;
  backward_of_two = nullptr;
  recompute = nullptr;
}

Node::~Node() {
  // Nodes that only this graph holds are taken apart here, one by one, so that a chain of any
  // length needs no stack.
  std::vector<std::shared_ptr<Node>> pending = std::move(inputs);
  while (!pending.empty()) {
    const std::shared_ptr<Node> node = std::move(pending.back());
    pending.pop_back();
    if (!node || node.use_count() > 1) continue;
    for (auto& input : node->inputs) pending.push_back(std::move(input));
    node->inputs.clear();
  }
}

Variable::Variable(Tensor value, bool requires_grad) : value_(std::move(value)) {
  if (!requires_grad) return;
  check(value_.defined(), "variable", "a value that requires a gradient must be defined");
  check(is_floating(value_.dtype()), "variable", "only floating tensors have gradients; got {}",
        name(value_.dtype()));
  node_ = std::make_shared<Node>("leaf", value_);
  node_->leaf = true;
}

const Tensor& Variable::grad() const {
  check(node_ && node_->leaf, "grad", "only a leaf that requires a gradient keeps one");
  return node_->gradient;
}

void Variable::set_grad(Tensor gradient) {
  check(node_ && node_->leaf, "set_grad", "only a leaf that requires a gradient keeps one");
  if (gradient.defined()) check_like_value("set_grad", gradient);
  node_->gradient = std::move(gradient);
}

void Variable::check_like_value(std::string_view where, const Tensor& gradient) const {
  check(gradient.shape() == shape() && gradient.dtype() == dtype() && gradient.device() == device(),
        where, "the gradient must be {} of shape {} on {}; got {} of shape {} on {}", name(dtype()),
        shape(), name(device()), name(gradient.dtype()), gradient.shape(), name(gradient.device()));
}

void Variable::zero_grad() {
  if (node_) node_->gradient = Tensor();
}

NoGrad::NoGrad() { ++no_grad_depth; }
NoGrad::~NoGrad() { --no_grad_depth; }
EnableGrad::EnableGrad() : no_grad_depth_(std::exchange(no_grad_depth, 0)) {}
EnableGrad::~EnableGrad() { no_grad_depth = no_grad_depth_; }
bool grad_enabled() { return no_grad_depth == 0; }

Variable make_variable(std::string_view name, Tensor value,
                       std::initializer_list<const Variable*> inputs, BackwardFunction backward) {
  Variable result(std::move(value));
  result.node_ = make_node(name, result.value(), inputs);
  if (result.node_) result.node_->backward = std::move(backward);
  return result;
}

Variable make_variable(std::string_view name, Tensor value,
                       std::initializer_list<const Variable*> inputs, BackwardOfTwo backward) {
  Variable result(std::move(value));
  result.node_ = make_node(name, result.value(), inputs);
  if (result.node_) result.node_->backward_of_two = std::move(backward);
  return result;
}

Variable make_variable(std::string_view name, Tensor value, std::span<const Variable> inputs,
                       BackwardFunction backward) {
  std::vector<const Variable*> pointers;
  for (const Variable& input : inputs) pointers.push_back(&input);
  Variable result(std::move(value));
  result.node_ = make_node(name, result.value(), pointers);
  if (result.node_) result.node_->backward = std::move(backward);
  return result;
}

}  // namespace gradus
