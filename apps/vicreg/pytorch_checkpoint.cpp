#include "vicreg/pytorch_checkpoint.h"

#include <algorithm>
#include <cmath>

#include <gradus/nn/state_dict.h>
#include <gradus/optim/adam_update.h>
#include <gradus/tensor/io/pytorch.h>

namespace gradus::vicreg {
namespace {

constexpr std::string_view optimizer_prefix = "optimizer_state_dict.";

/// The value of a scalar of any type; an Error where there is none of that name.
double number(const TensorFile& file, const std::string& name) {
  const auto found = file.tensors.find(name);
  check(found != file.tensors.end() && found->second.numel() == 1, "continue",
        "there is no number {}", name);
  const Tensor& value = found->second;
  return is_floating(value.dtype())      ? value.to(DType::float64).item<double>()
         : value.dtype() == DType::int64 ? static_cast<double>(value.item<std::int64_t>())
                                         : value.item<std::uint8_t>();
}

/// The same of one that counts something.
std::int64_t count(const TensorFile& file, const std::string& name) {
  constexpr double most = 1e15;  // exact as a double
  const double value = number(file, name);
  check(value >= 0 && value <= most && value == std::floor(value), "continue",
        "{} is {}, which counts nothing", name, value);
  return static_cast<std::int64_t>(value);
}

/// What Adam's groups say must be what our Adam does.
void check_groups(const TensorFile& file, std::size_t parameters) {
  const optim::AdamOptions ours;
  const std::vector<std::pair<std::string_view, double>> expected{{"betas.0", ours.beta1},
                                                                  {"betas.1", ours.beta2},
                                                                  {"eps", ours.eps},
                                                                  {"amsgrad", 0},
                                                                  {"maximize", 0}};
  const std::string groups = fmt::format("{}param_groups.", optimizer_prefix);
  std::size_t listed = 0;
  for (auto entry = file.tensors.lower_bound(groups);
       entry != file.tensors.end() && entry->first.starts_with(groups); ++entry) {
    const std::string_view rest = std::string_view(entry->first).substr(groups.size());
    const std::string_view option = rest.substr(rest.find('.') + 1);
    if (option.starts_with("params.")) ++listed;
    for (const auto& [name, value] : expected)
      check(option != name || number(file, entry->first) == value, "continue",
            "{} is {}, and {} is what can be continued", entry->first, number(file, entry->first),
            value);
  }
  check(listed == parameters, "continue",
        "its optimiser updates {} parameters, and the model has {}", listed, parameters);
}

/// Adam's state by our names: PyTorch numbers the parameters in the order of the model.
optim::OptimizerState optimizer_state(const TensorFile& file, const nn::VICRegModel& model) {
  const std::vector<NamedParameter> parameters = model.parameters();
  check_groups(file, parameters.size());
  std::map<std::string, nn::Layout> layouts;
  for (const nn::NamedTensor& tensor : model.state()) layouts[tensor.name] = tensor.layout;

  optim::OptimizerState state;
  std::int64_t most_steps = 0;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const auto& [name, variable] = parameters[i];
    const std::string theirs = fmt::format("{}state.{}.", optimizer_prefix, i);
    const auto entry = file.tensors.lower_bound(theirs);
    if (entry == file.tensors.end() || !entry->first.starts_with(theirs)) continue;
    const std::int64_t steps = count(file, theirs + "step");
    most_steps = std::max(most_steps, steps);
    state["step." + name] = from_vector<std::int64_t>({steps}, {});
    for (const char* what : {"exp_avg", "exp_avg_sq"}) {
      const auto moment = file.tensors.find(theirs + what);
      check(moment != file.tensors.end(), "continue", "there is no {}{}", theirs, what);
      const Tensor& value = moment->second;
      check(value.rank() == variable->shape().rank(), "continue",
            "{} has shape {}, and the model's parameter of that number is {}", moment->first,
            value.shape(), name);
      state[fmt::format("{}.{}", what, name)] =
          nn::from_pytorch(value.to(variable->dtype()), layouts.at(name));
    }
  }
  state["step_count"] = from_vector<std::int64_t>({most_steps}, {});
  return state;
}

}  // namespace

std::int64_t load_pytorch_checkpoint(const std::filesystem::path& path, nn::VICRegModel& model,
                                     optim::Optimizer& optimizer) {
  const TensorFile file = read_tensors(path);
  try {
    const std::int64_t epoch = count(file, "epoch");
    nn::load_state_dict(model, file.tensors, "model_state_dict");
    optimizer.load_state(optimizer_state(file, model));
    return epoch;
  } catch (const Error& error) {
    fail("continue", "{} cannot be continued: {}", path.string(), error.message());
  }
}

}  // namespace gradus::vicreg
