// Muon: momentum whose directions are orthogonalised, with steps relative to the parameters.
#pragma once

#include <vector>

#include <gradus/optim/optimizer.h>
#include <gradus/optim/sgd_update.h>
#include <gradus/tensor/device_array.h>

namespace gradus::optim {

/// The constants of Muon.
struct MuonOptions {
  double lr = 1;          ///< of a step() that is given none
  double momentum = 0.9;  ///< finite, positive
  bool nesterov = true;
  double trust = 0.03;  ///< length of a step as a part of lr times the parameter's; positive
  int iterations = 3;   ///< of orthogonalize, positive
};

/// Muon ("momentum orthogonalized by Newton-Schulz"; Jordan et al., 2024,
/// kellerjordan.github.io/posts/muon), whose steps are here, as those of LARS, relative to the
/// parameter. The update of a parameter p from its gradient g:
///
///   m = momentum m + g
///   u = nesterov ? g + momentum m : m
///   p -= lr q (o + weight_decay p),  q = trust |p| / |o + weight_decay p|
///
/// where o is orthogonalize(u) for weights of convolutions, u otherwise. In groups without `adapt`
/// o is u and q is 1; q is 1, too, where a norm is 0. State: "momentum" m.
class Muon : public Optimizer {
 public:
  using Options = MuonOptions;

  Muon(std::vector<ParameterGroup> groups, const Options& options);
  Muon(std::vector<NamedParameter> parameters, const Options& options)
      : Muon(one_group(std::move(parameters)), options) {}

 protected:
  void set_updates(const std::vector<Coming>& coming, Device device) override;
  void update(const std::vector<UpdateTensors>& parameters, const Tensor& guard) override;

 private:
  Options options_;
  std::vector<bool> adapt_;                   // of each parameter
  DeviceArray<SgdUpdate> momenta_, updates_;  // of each parameter, for the step to come
};

/// Brings the singular values of x, seen as a matrix [first axis, the others], near 1: U S V^T
/// becomes U f(S) V^T. f applies an odd polynomial of degree 5 `iterations` times to S divided by a
/// bound of it, the fourth root of the sum of its fourth powers. With 3 iterations f lies between
/// 0.68 and 1.21 from 1/56 of that bound on and rises steeply below; each further one extends that
/// by a factor of 3.4. Zeros stay zeros. float32 is multiplied in bfloat16. An Error unless
/// iterations is positive.
Tensor orthogonalize(const Tensor& x, int iterations);

}  // namespace gradus::optim
