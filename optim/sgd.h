// Stochastic gradient descent.
#pragma once

#include <gradus/optim/optimizer.h>
#include <gradus/optim/sgd_update.h>
#include <gradus/tensor/device_array.h>

namespace gradus::optim {

/// SGD (sgd_update.h). State: "momentum", if there is momentum.
class Sgd : public Optimizer {
 public:
  Sgd(std::vector<ParameterGroup> groups, const SgdOptions& options = {});

 protected:
  void set_updates(const std::vector<Coming>& coming, Device device) override;
  void update(const std::vector<UpdateTensors>& parameters, const Tensor& guard) override;

 private:
  SgdOptions options_;
  DeviceArray<SgdUpdate> updates_;
};

}  // namespace gradus::optim
