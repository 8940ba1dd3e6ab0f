// Modules one after another.
#pragma once

#include <gradus/nn/module.h>

namespace gradus::nn {

/// y = last(...(first(x))):
///
///     Sequential net;
///     net.add<Linear>({784, 100}, generator);
///     net.add<ReLU>();
///
/// Children are named by their index: "0", "1", ...
class Sequential : public Module {
 public:
  /// Puts a module at the end. One statement each keeps the order in which modules draw initial
  /// weights defined, which the arguments of a single call would not.
  template <class M>
  M& add(std::unique_ptr<M> module) {
    return Module::add(std::to_string(size()), std::move(module));
  }
  /// The same with a new M(options), or M(options, generator).
  template <class M, class... Generators>
  M& add(const typename M::Options& options, Generators&... generator) {
    return add(std::make_unique<M>(options, generator...));
  }
  /// The same with a new M().
  template <class M>
  M& add() {
    return add(std::make_unique<M>());
  }

  /// Number of modules.
  std::size_t size() const { return children().size(); }
  /// The module at `index`; throws Error unless it is less than size().
  Module& operator[](std::size_t index) { return *at(index); }
  const Module& operator[](std::size_t index) const { return *at(index); }

 protected:
  Variable forward(const Variable& x) override;

 private:
  Module* at(std::size_t index) const {
    check(index < size(), "sequential", "there is no module {}: there are {}", index, size());
    return children()[index].get();
  }
};

}  // namespace gradus::nn
