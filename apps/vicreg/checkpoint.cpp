#include "vicreg/checkpoint.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include <gradus/nn/state_dict.h>
#include <gradus/tensor/io/safetensors.h>
#include <gradus/tensor/ops.h>
#include "vicreg/architecture.h"
#include "vicreg/weights.h"

namespace gradus::vicreg {
namespace {

constexpr const char* format_key = "gradus.checkpoint";
constexpr const char* format_version = "1";
constexpr std::string_view optimizer_prefix = "optimizer.";
constexpr std::string_view generator_prefix = "generator.";
constexpr std::string_view probe_prefix = "probe.";

/// An error that names the first option in which the run of a checkpoint differs from this one.
void check_same_options(const std::filesystem::path& path, const nlohmann::json& saved,
                        const nlohmann::json& current) {
  for (const auto& [key, value] : current.items()) {
    if (!saved.contains(key)) continue;
    const nlohmann::json& before = saved.at(key);
    if (before.is_object() && value.is_object()) {
      check_same_options(path, before, value);
      continue;
    }
    check(before == value, "resume",
          "{} was made with {} = {}, this run has {}; give the same options and images, or start "
          "afresh with "
          "--out elsewhere",
          path.string(), key, before.dump(), value.dump());
  }
}

nlohmann::json parse_options(const std::filesystem::path& path, const std::string& text) {
  nlohmann::json options = nlohmann::json::parse(text, nullptr, false);
  check(options.is_object(), "resume", "{}: its options cannot be read", path.string());
  return options;
}

void check_identity(const std::filesystem::path& path, const nlohmann::json& saved,
                    const nlohmann::json& current) {
  // An option that the checkpoint does not name is newer than it; the default is what was done
  // then. What has no default either, it does not know: it was made without the images' facts.
  nlohmann::json complete = identity(TrainOptions());
  complete.merge_patch(saved);
  check_same_options(path, complete, current);
}

ImageFacts parse_images(const std::filesystem::path& path, const nlohmann::json& saved) {
  try {
    return image_facts_from_json(saved);
  } catch (const nlohmann::json::exception& error) {
    fail("resume", "{}: what it says of its images cannot be read: {}", path.string(),
         error.what());
  }
}

std::int64_t parse_step(const std::filesystem::path& path, const std::string& text) {
  std::int64_t step = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), step);
  check(error == std::errc() && end == text.data() + text.size() && step >= 0, "resume",
        "{}: its step '{}' is not a number", path.string(), text);
  return step;
}

}  // namespace

void save_checkpoint(const std::filesystem::path& path, nn::VICRegModel& model,
                     const optim::Optimizer& optimizer, std::int64_t step,
                     const TrainOptions& options, const OnlineProbe* probe) {
  for (const NamedParameter& parameter : model.parameters())
    check(all_finite(parameter.variable->value()), "checkpoint",
          "after step {} the weight {} is not finite; {}{}", step, parameter.name,
          std::filesystem::exists(path) ? "the checkpoint before it was kept"
                                        : "no checkpoint was written",
          step > 0 ? "; a lower --lr or --clip-norm may help" : "");
  TensorFile file;
  file.tensors = nn::state_dict(model);
  add_with_prefix(file.tensors, optimizer_prefix, optimizer.state());
  if (probe) add_with_prefix(file.tensors, probe_prefix, probe->state());
  for (const nn::NamedGenerator& entry : model.generators())
    file.tensors.emplace(
        fmt::format("{}{}", generator_prefix, entry.name),
        from_vector<std::int64_t>({static_cast<std::int64_t>(entry.generator->position())}, {}));
  file.metadata = {{"format", "pt"},
                   {format_key, format_version},
                   {step_key, std::to_string(step)},
                   {model_key, to_json(options.model).dump()},
                   {options_key, identity(options).dump()}};
  write_safetensors(path, file);
}

std::int64_t load_checkpoint(const std::filesystem::path& path, nn::VICRegModel& model,
                             optim::Optimizer& optimizer, TrainOptions& options,
                             OnlineProbe* probe) {
  const TensorFile file = read_safetensors(path);
  for (const char* key : {format_key, step_key, options_key})
    check(file.metadata.contains(key), "resume",
          "{} is not a checkpoint of this program (no {}); to start from its weights use --init",
          path.string(), key);
  check(file.metadata.at(format_key) == format_version, "resume",
        "{} has checkpoint format {}, this program reads {}", path.string(),
        file.metadata.at(format_key), format_version);
  const nlohmann::json saved_options = parse_options(path, file.metadata.at(options_key));
  check_identity(path, saved_options, identity(options));

  nn::StateDict weights = file.tensors;
  std::erase_if(weights, [](const auto& entry) {
    return entry.first.starts_with(optimizer_prefix) || entry.first.starts_with(probe_prefix) ||
           entry.first.starts_with(generator_prefix);
  });
  try {
    nn::load_state_dict(model, weights);
    optimizer.load_state(without_prefix(file.tensors, optimizer_prefix));
    if (probe) probe->load_state(without_prefix(file.tensors, probe_prefix));
  } catch (const Error& error) {
    fail("resume", "{}: {}", path.string(), error.message());
  }
  for (const nn::NamedGenerator& entry : model.generators()) {
    const auto position = file.tensors.find(fmt::format("{}{}", generator_prefix, entry.name));
    check(position != file.tensors.end(), "resume", "{} lacks the random position of {}",
          path.string(), entry.name);
    entry.generator->set_position(
        static_cast<std::uint64_t>(position->second.item<std::int64_t>()));
  }
  if (options.images.count == 0) options.images = parse_images(path, saved_options);
  return parse_step(path, file.metadata.at(step_key));
}

}  // namespace gradus::vicreg
