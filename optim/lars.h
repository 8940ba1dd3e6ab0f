// LARS.
#pragma once

#include <gradus/optim/lars_update.h>
#include <gradus/optim/optimizer.h>
#include <gradus/tensor/device_array.h>

namespace gradus::optim {

/// LARS (lars_update.h): SGD with momentum, whose updates are scaled by the trust ratio in groups
/// with `adapt`. State: "momentum".
class Lars : public Optimizer {
 public:
  using Options = LarsOptions;

  Lars(std::vector<ParameterGroup> groups, const Options& options);
  Lars(std::vector<NamedParameter> parameters, const Options& options)
      : Lars(one_group(std::move(parameters)), options) {}

 protected:
  void set_updates(const std::vector<Coming>& coming, Device device) override;
  void update(const std::vector<UpdateTensors>& parameters, const Tensor& guard) override;

 private:
  Options options_;
  DeviceArray<SgdUpdate> updates_;
};

}  // namespace gradus::optim
