// LARS.
#pragma once

#include <gradus/optim/lars_update.h>
#include <gradus/optim/sgd.h>

namespace gradus::optim {

/// LARS (lars_update.h): SGD, usually with momentum, whose updates are scaled by the trust ratio in
/// groups with `adapt`. State: SGD's.
class Lars : public Sgd {
 public:
  using Options = LarsOptions;

  Lars(std::vector<ParameterGroup> groups, const Options& options);
  Lars(std::vector<NamedParameter> parameters, const Options& options)
      : Lars(one_group(std::move(parameters)), options) {}

 protected:
  void update(const std::vector<UpdateTensors>& parameters, const Tensor& guard) override;

 private:
  Options options_;
};

}  // namespace gradus::optim
