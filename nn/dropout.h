// Dropout layer.
#pragma once

#include <gradus/autograd/ops.h>
#include <gradus/nn/module.h>

namespace gradus::nn {

/// In training, zeroes elements with probability p and scales the others by 1 / (1 - p); the
/// identity in evaluation. Srivastava et al., "Dropout", JMLR 2014. It draws from a generator of
/// its own, which is split off the one given and which generators() shows.
class Dropout : public Module {
 public:
  /// p is checked when it is first used.
  struct Options {
    double p = 0.5;  ///< probability that an element becomes 0, in [0, 1)
  };

  Dropout(const Options& options, Generator& generator)
      : options_(options), generator_(generator.split()) {
    register_generator("generator", generator_);
  }

 protected:
  Variable forward(const Variable& x) override {
    return training() && options_.p != 0 ? dropout(x, options_.p, generator_) : x;
  }

 private:
  Options options_;
  Generator generator_;
};

}  // namespace gradus::nn
