// Reverse-mode differentiation in about 30 lines, of numbers instead of tensors, and without the
// library: how autograd/engine.cpp works.
#include <cmath>
#include <cstdio>
#include <deque>
#include <utility>
#include <vector>

namespace {

/// A number, and how it was made: from which others, and the derivative with respect to each.
struct Node {
  double value;
  std::vector<Node*> inputs;
  std::vector<double> derivatives;  // d value / d inputs[i]
  double gradient = 0;              // d result / d value
};

std::deque<Node> tape;  // in the order in which they were made: inputs before results

Node* make(double value, std::vector<Node*> inputs = {}, std::vector<double> derivatives = {}) {
  return &tape.emplace_back(Node{value, std::move(inputs), std::move(derivatives)});
}
Node* add(Node* a, Node* b) { return make(a->value + b->value, {a, b}, {1, 1}); }
Node* mul(Node* a, Node* b) { return make(a->value * b->value, {a, b}, {b->value, a->value}); }
Node* exp(Node* a) { return make(std::exp(a->value), {a}, {std::exp(a->value)}); }

/// The chain rule from the result backwards: a node's own gradient is complete before it is handed
/// on, since all that read its value come later on the tape. Once for a tape: a second call would
/// add to the gradients of the first, those of inner nodes, too.
void backward(Node* result) {
  result->gradient = 1;
  for (auto node = tape.rbegin(); node != tape.rend(); ++node)
    for (std::size_t i = 0; i < node->inputs.size(); ++i)
      node->inputs[i]->gradient += node->gradient * node->derivatives[i];
}

}  // namespace

int main() {
  Node *x = make(2), *w = make(-0.5);
  Node* y = add(mul(x, x), exp(mul(w, x)));  // y = x^2 + exp(w x)
  backward(y);
  std::printf("y = %.6f\n", y->value);
  std::printf("dy/dx = %.6f, by hand %.6f\n", x->gradient, 2 * 2 - 0.5 * std::exp(-1.0));
  std::printf("dy/dw = %.6f, by hand %.6f\n", w->gradient, 2 * std::exp(-1.0));
}
