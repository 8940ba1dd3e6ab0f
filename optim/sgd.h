// Stochastic gradient descent.
#pragma once

#include <gradus/optim/optimizer.h>
#include <gradus/optim/sgd_update.h>
#include <gradus/tensor/device_array.h>

namespace gradus::optim {

/// SGD (sgd_update.h). State: "momentum", if there is momentum.
class Sgd : public Optimizer {
 public:
  using Options = SgdOptions;

  Sgd(std::vector<ParameterGroup> groups, const Options& options);
  Sgd(std::vector<NamedParameter> parameters, const Options& options)
      : Sgd(one_group(std::move(parameters)), options) {}

 protected:
  void set_updates(const std::vector<Coming>& coming, Device device) override;
  void update(const std::vector<UpdateTensors>& parameters, const Tensor& guard) override;

  DeviceArray<SgdUpdate> updates_;  ///< of each parameter, for the step to come

 private:
  Options options_;
};

}  // namespace gradus::optim
