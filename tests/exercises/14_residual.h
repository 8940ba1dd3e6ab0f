// A solution of exercise 14: a residual block as a module.
#pragma once

#include <gradus/autograd/ops.h>
#include <gradus/nn/linear.h>

class Residual : public gradus::nn::Module {
 public:
  Residual(std::int64_t features, gradus::Generator& generator)
      : fc1(add<gradus::nn::Linear>("fc1", {features, features}, generator)),
        fc2(add<gradus::nn::Linear>("fc2", {features, features}, generator)) {}

  gradus::nn::Linear& fc1;
  gradus::nn::Linear& fc2;

 protected:
  gradus::Variable forward(const gradus::Variable& x) override;
};

inline gradus::Variable Residual::forward(const gradus::Variable& x) {
  return x + fc2(relu(fc1(x)));
}
