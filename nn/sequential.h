// Modules one after another.
#pragma once

#include <gradus/nn/module.h>

namespace gradus::nn {

/// y = last(...(first(x))). Children are named by their index: "0", "1", ...
class Sequential : public Module {
 public:
  /// Appends a module. One statement each keeps the order in which modules draw initial weights
  /// defined, which the arguments of a single call would not.
  template <class M>
  M& append(std::unique_ptr<M> module) {
    M& reference = add(std::to_string(modules_.size()), std::move(module));
    modules_.push_back(&reference);
    return reference;
  }

  std::size_t size() const { return modules_.size(); }
  Module& operator[](std::size_t index) { return *modules_.at(index); }

 protected:
  Variable forward(const Variable& x) override;

 private:
  std::vector<Module*> modules_;  // owned as children
};

}  // namespace gradus::nn
