// Adam; with options.decoupled, AdamW.
#pragma once

#include <gradus/optim/adam_update.h>
#include <gradus/optim/optimizer.h>
#include <gradus/tensor/device_array.h>

namespace gradus::optim {

/// Adam (adam_update.h). State: "exp_avg" m and "exp_avg_sq" v. Throws Error, as the other
/// optimisers do, for an option out of range.
class Adam : public Optimizer {
 public:
  using Options = AdamOptions;

  Adam(std::vector<ParameterGroup> groups, const Options& options);
  Adam(std::vector<NamedParameter> parameters, const Options& options)
      : Adam(one_group(std::move(parameters)), options) {}

 protected:
  void set_updates(const std::vector<Coming>& coming, Device device) override;
  void update(const std::vector<UpdateTensors>& parameters, const Tensor& guard) override;

 private:
  Options options_;
  DeviceArray<AdamUpdate> updates_;
};

}  // namespace gradus::optim
