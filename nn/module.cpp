#include <gradus/nn/module.h>

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <typeinfo>

#include <gradus/autograd/checkpoint.h>
#include <gradus/tensor/check.h>

namespace gradus::nn {
namespace {

thread_local ForwardObserver* observer = nullptr;

/// The name of a module's class, without namespaces: "Conv2d".
std::string class_name(const Module& module) {
  int status = 0;
  const char* const mangled = typeid(module).name();
  const std::unique_ptr<char, decltype(&std::free)> demangled(
      abi::__cxa_demangle(mangled, nullptr, nullptr, &status), &std::free);
  const std::string name = demangled ? demangled.get() : mangled;
  const std::size_t colons = name.substr(0, name.find('<')).rfind("::");
  return colons == std::string::npos ? name : name.substr(colons + 2);
}

}  // namespace

std::string join_path(std::string_view path, std::string_view name) {
  if (path.empty()) return std::string(name);
  if (name.empty()) return std::string(path);
  return fmt::format("{}.{}", path, name);
}

ForwardObserver::ForwardObserver(Callback callback)
    : callback_(std::move(callback)), previous_(observer) {
  observer = this;
}

ForwardObserver::~ForwardObserver() {
  ForwardObserver** place = &observer;  // where this one is linked: a later one may be alive
  while (*place != nullptr && *place != this) place = &(*place)->previous_;
  if (*place == this) *place = previous_;
}

thread_local const Module::Running* Module::Running::innermost_ = nullptr;

Module::Running::Running(const Module& module)
    : module_(module),
      outer_(std::exchange(innermost_, this)),
      interval_("module", Trace::on() ? description() : std::string()) {}

Module::Running::~Running() { innermost_ = outer_; }

std::string Module::Running::path() {
  std::string path;
  for (const Running* inner = innermost_; inner != nullptr; inner = inner->outer_) {
    path = join_path(inner->module_.name(), path);
  }
  return path;
}

std::string Module::Running::description() {
  const std::string class_of = class_name(innermost_->module_), at = path();
  return at.empty() ? class_of : fmt::format("{} ({})", at, class_of);
}

void Module::add_name(Error& error) const { error.prepend_path(name_, class_name(*this)); }

Variable Module::operator()(const Variable& x) {
  return named([&] {
    Variable y = forward(x);
    if (observer != nullptr && !recomputing()) observer->callback_(Running::path(), y.value());
    return y;
  });
}

template <class Self, class SelfVisitor>
void Module::visit_from(Self& module, const std::string& path, const SelfVisitor& visitor) {
  visitor(path, module);
  for (const auto& child : module.children_) {
    visit_from<Self>(*child, join_path(path, child->name_), visitor);
  }
}

std::vector<NamedParameter> Module::parameters() const {
  std::vector<NamedParameter> all;
  visit([&](const std::string& path, const Module& module) {
    for (const Parameter& p : module.parameters_) {
      all.push_back({join_path(path, p.name), p.variable});
    }
  });
  return all;
}

std::vector<NamedTensor> Module::buffers() const {
  std::vector<NamedTensor> all;
  visit([&](const std::string& path, const Module& module) {
    for (NamedTensor buffer : module.buffers_) {
      buffer.name = join_path(path, buffer.name);
      all.push_back(std::move(buffer));
    }
  });
  return all;
}

std::vector<NamedTensor> Module::state() const {
  std::vector<NamedTensor> all;
  visit([&](const std::string& path, const Module& module) {
    for (const Parameter& p : module.parameters_) {
      all.push_back({join_path(path, p.name), &p.variable->value(), p.layout});
    }
    for (NamedTensor buffer : module.buffers_) {
      buffer.name = join_path(path, buffer.name);
      all.push_back(std::move(buffer));
    }
  });
  return all;
}

std::vector<NamedGenerator> Module::generators() const {
  std::vector<NamedGenerator> all;
  visit([&](const std::string& path, const Module& module) {
    for (const auto& [name, generator] : module.generators_) {
      all.push_back({join_path(path, name), generator});
    }
  });
  return all;
}

std::int64_t Module::parameter_count() const {
  std::int64_t count = 0;
  for (const auto& parameter : parameters()) count += parameter.variable->numel();
  return count;
}

void Module::train(bool on) {
  visit([on](const std::string&, Module& module) { module.training_ = on; });
}

void Module::set_requires_grad(bool on) {
  for (const auto& parameter : parameters()) {
    *parameter.variable = Variable(parameter.variable->value(), on);
  }
}

void Module::zero_grad() {
  for (const auto& parameter : parameters()) parameter.variable->zero_grad();
}

template <class Convert>
void Module::convert_state(const Convert& convert) {
  const auto parameters = this->parameters();
  const auto buffers = this->buffers();
  std::vector<Tensor> converted;  // all, before any is changed: memory may run out
  for (const auto& parameter : parameters)
    converted.push_back(convert(parameter.variable->value()));
  for (const auto& buffer : buffers) converted.push_back(convert(*buffer.tensor));
  auto next = converted.begin();
  for (const auto& parameter : parameters)
    *parameter.variable = Variable(std::move(*next++), parameter.variable->requires_grad());
  for (const auto& buffer : buffers) *buffer.tensor = std::move(*next++);
}

Device Module::device() const {
  const std::vector<NamedTensor> all = state();
  return all.empty() ? Device::cpu : all.front().tensor->device();
}

void Module::to(DType dtype) {
  check(dtype == DType::float32 || dtype == DType::float64, "to",
        "parameters must be float32 or float64; got {}", gradus::name(dtype));
  convert_state([dtype](const Tensor& x) { return is_floating(x.dtype()) ? x.to(dtype) : x; });
}

void Module::to(Device device) {
  convert_state([device](const Tensor& x) { return x.to(device); });
}

void Module::check_new_name(const std::string& name) const {
  const auto taken = [&name](const auto& entries) {
    return std::any_of(entries.begin(), entries.end(),
                       [&](const auto& entry) { return entry.name == name; });
  };
  const bool is_child =
      std::any_of(children_.begin(), children_.end(),
                  [&](const std::unique_ptr<Module>& child) { return child->name_ == name; });
  check(!name.empty() && name.find('.') == std::string::npos, "module",
        "a name must not be empty or contain a dot; got \"{}\"", name);
  check(!taken(parameters_) && !taken(buffers_) && !taken(generators_) && !is_child, "module",
        "the name \"{}\" is already taken", name);
}

void Module::add_child(std::string name, std::unique_ptr<Module> child) {
  check(child != nullptr, "module", "the module to add under \"{}\" is null", name);
  check_new_name(name);
  child->name_ = std::move(name);
  children_.push_back(std::move(child));
}

void Module::register_parameter(std::string name, Variable& variable, Layout layout) {
  if (!variable.defined()) return;
  check_new_name(name);
  check_leaf("module", name, variable);
  parameters_.push_back({std::move(name), &variable, layout});
}

void Module::register_buffer(std::string name, Tensor& tensor, Presence presence) {
  check_new_name(name);
  check(tensor.defined(), "module", "the buffer \"{}\" is undefined", name);
  buffers_.push_back({std::move(name), &tensor, Layout::same, presence});
}

void Module::register_generator(std::string name, Generator& generator) {
  check_new_name(name);
  generators_.push_back({std::move(name), &generator});
}

}  // namespace gradus::nn
