#include <vector>

#include <gradus/optim/optimizer.h>
#include <gradus/tensor/ops.h>

namespace gradus::optim {
namespace {

/// Gradients that are sent together.
class Bucket {
 public:
  void add(Variable& variable) {
    variables_.push_back(&variable);
    elements_ += variable.numel();
  }
  bool is_full() const { return elements_ >= enough; }

  void average(Communicator& communicator) {
    if (variables_.empty()) return;
    std::vector<Tensor> gradients;
    for (const Variable* variable : variables_)
      gradients.push_back(variable->grad().reshape({variable->numel()}));
    Tensor all = concat(gradients);
    communicator.all_reduce(all);
    all = affine(all, 1.0 / communicator.size(), -0.0);
    std::int64_t begin = 0;
    for (Variable* variable : variables_) {
      const std::int64_t end = begin + variable->numel();
      variable->set_grad(all.slice(begin, end).reshape(variable->shape()).clone());
      begin = end;
    }
    *this = {};
  }

 private:
  static constexpr std::int64_t enough = std::int64_t{1} << 20;
  std::vector<Variable*> variables_;
  std::int64_t elements_ = 0;
};

}  // namespace

void average_gradients(const std::vector<NamedParameter>& parameters, Communicator& communicator) {
  Bucket bucket;
  for (const NamedParameter& parameter : parameters) {
    Variable& variable = *parameter.variable;
    if (!variable.requires_grad() || !variable.grad().defined()) continue;
    bucket.add(variable);
    if (bucket.is_full()) bucket.average(communicator);
  }
  bucket.average(communicator);
}

}  // namespace gradus::optim
