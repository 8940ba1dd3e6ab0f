#include <gradus/nn/state_dict.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <set>

#include <gradus/tensor/io/pytorch.h>
#include <gradus/tensor/ops.h>

namespace gradus::nn {
namespace {

Tensor to_pytorch(const Tensor& ours, Layout layout) {
  return layout == Layout::conv_weight ? permute(ours, {0, 3, 1, 2}) : ours.clone();
}

Shape pytorch_shape(const Shape& ours, Layout layout) {
  return layout == Layout::conv_weight ? Shape{ours[0], ours[3], ours[1], ours[2]} : ours;
}

/// "2 names (a, b)", at most three of them.
std::string summary(const std::vector<std::string>& names) {
  constexpr std::ptrdiff_t shown = 3;
  const auto count = std::ssize(names);
  const std::vector<std::string> first(names.begin(), names.begin() + std::min(shown, count));
  return fmt::format("{} {} ({}{})", count, count == 1 ? "name" : "names", fmt::join(first, ", "),
                     count > shown ? ", ..." : "");
}

LoadReport compare_names(const std::vector<NamedTensor>& targets, const StateDict& state,
                         std::string_view prefix) {
  LoadReport report;
  std::set<std::string> known;
  for (const NamedTensor& target : targets) {
    const std::string name = join_path(prefix, target.name);
    known.insert(name);
    if (target.presence == Presence::required && !state.contains(name))
      report.missing.push_back(name);
  }
  const std::string start = prefix.empty() ? "" : fmt::format("{}.", prefix);
  for (const auto& [name, tensor] : state) {
    if (name.starts_with(start) && !known.contains(name)) report.unexpected.push_back(name);
  }
  return report;
}

void require_all_names(const LoadReport& report) {
  std::vector<std::string> problems;
  if (!report.missing.empty()) problems.push_back("lacks " + summary(report.missing));
  if (!report.unexpected.empty())
    problems.push_back("has unexpected " + summary(report.unexpected));
  check(problems.empty(), "load_state_dict", "the state does not fit the module: it {}",
        fmt::join(problems, " and "));
}

/// The tensor that `target` shall hold, of its shape, type and device.
Tensor converted(const Tensor& source, const NamedTensor& target, const std::string& name) {
  check(source.defined(), "load_state_dict", "{} is undefined in the state", name);
  const Tensor& ours = *target.tensor;
  const Shape expected = pytorch_shape(ours.shape(), target.layout);
  check(source.shape() == expected, "load_state_dict",
        "{} has shape {} in the state, but the module needs {}", name, source.shape(), expected);
  check(
      source.dtype() == ours.dtype() || (is_floating(source.dtype()) && is_floating(ours.dtype())),
      "load_state_dict", "{} holds {} in the state, but the module needs {}", name,
      gradus::name(source.dtype()), gradus::name(ours.dtype()));
  return from_pytorch(source.to(ours.dtype()).to(ours.device()), target.layout);
}

}  // namespace

Tensor from_pytorch(const Tensor& theirs, Layout layout) {
  return layout == Layout::conv_weight ? permute(theirs, {0, 2, 3, 1}) : theirs;
}

StateDict state_dict(const Module& module, std::string_view prefix) {
  StateDict state;
  for (const NamedTensor& entry : module.state()) {
    state.emplace(join_path(prefix, entry.name), to_pytorch(*entry.tensor, entry.layout));
  }
  return state;
}

LoadReport load_state_dict(Module& module, const StateDict& state, std::string_view prefix,
                           const LoadOptions& options) {
  const std::vector<NamedTensor> targets = module.state();
  LoadReport report = compare_names(targets, state, prefix);
  if (options.strict) require_all_names(report);

  std::vector<std::pair<Tensor*, Tensor>> copies;  // target and new value
  for (const NamedTensor& target : targets) {
    const std::string name = join_path(prefix, target.name);
    const auto found = state.find(name);
    if (found == state.end()) continue;
    Tensor value = converted(found->second, target, name);
    const auto holds_it = [&](const NamedTensor& t) { return t.tensor->shares_storage(value); };
    if (std::ranges::any_of(targets, holds_it)) value = value.clone();  // another copy comes first
    copies.emplace_back(target.tensor, std::move(value));
  }
  for (auto& [target, value] : copies) target->copy_from(value);
  return report;
}

void save(const Module& module, const std::filesystem::path& path) {
  write_safetensors(path, {.tensors = state_dict(module), .metadata = {{"format", "pt"}}});
}

void load(Module& module, const std::filesystem::path& path) {
  const TensorFile file = read_tensors(path);
  try {
    load_state_dict(module, file.tensors);
  } catch (const Error& error) {
    fail("load", "{} does not fit the module: {}", path.string(), error.message());
  }
}

}  // namespace gradus::nn
