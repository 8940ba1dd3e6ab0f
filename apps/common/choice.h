// Values that have names on the command line and in files: a table of these for each type.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gradus/tensor/check.h>

namespace gradus::apps {

/// A value with its name on the command line and in files, and what the help says of it.
template <class Value>
struct Choice {
  Value value;
  std::string_view name, meaning = "";
};

/// All choices of an option, in the order of the help.
template <class Value, std::size_t count>
using Choices = std::array<Choice<Value>, count>;

/// The name of a value, which the table must hold.
template <class Value, std::size_t count>
std::string name_of(const Choices<Value, count>& choices, const Value& value) {
  const auto found = std::find_if(choices.begin(), choices.end(),
                                  [&](const Choice<Value>& c) { return c.value == value; });
  check(found != choices.end(), "choice", "a value has no name beside {}", choices.front().name);
  return std::string(found->name);
}

/// The value of a name, if it is one.
template <class Value, std::size_t count>
std::optional<Value> find_choice(const Choices<Value, count>& choices, std::string_view name) {
  for (const auto& choice : choices)
    if (choice.name == name) return choice.value;
  return std::nullopt;
}

/// "adam, lars (solo-learn's form) or sgd"; the names alone without `meanings`.
template <class Value, std::size_t count>
std::string list_of(const Choices<Value, count>& choices, bool meanings) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    text += i == 0 ? "" : i + 1 < count ? ", " : " or ";
    text += choices[i].name;
    if (meanings && !choices[i].meaning.empty()) text += fmt::format(" ({})", choices[i].meaning);
  }
  return text;
}

/// The value of a name in a file; throws Error that names `what` and the choices if it is none.
template <class Value, std::size_t count>
Value choice(const Choices<Value, count>& choices, std::string_view what, std::string_view name) {
  const auto value = find_choice(choices, name);
  check(value.has_value(), "choice", "{} '{}' is unknown; there are {}", what, name,
        list_of(choices, false));
  return *value;
}

}  // namespace gradus::apps
