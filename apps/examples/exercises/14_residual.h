// Exercise 14: a residual block as a module.
//
// Deep networks train badly if each layer must carry all of the signal. A residual block adds what
// it computes to its input, y = x + fc2(relu(fc1(x))), so that the gradient always has a straight
// way back.
//
// A module owns its layers, which it adds by name in its constructor, and says in forward what it
// computes. Autograd does the rest: there is no backward to write.
//
// Task: forward. Layers are called like functions; relu and + work on Variables.
//
// In the library: nn/resnet.cpp.
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
  // TODO
  return x;
}
