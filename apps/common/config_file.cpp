#include "common/config_file.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <optional>

#include <gradus/tensor/check.h>
#include "common/command_line.h"
#include "common/program.h"

// toml++ 3.3 asserts that a text is free of some errors ("[=]") which the code after the assertion
// then handles well; so its assertions do nothing here, not even tell the compiler what to assume.
#undef NDEBUG
#define TOML_ASSERT(expression) static_cast<void>(0)
#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

namespace gradus::apps {
namespace {

template <class... Args>
[[noreturn]] void reject(const std::string& file, std::int64_t line,
                         fmt::format_string<Args...> reason, Args&&... args) {
  fail("config", "{}:{}: {}", file, line, fmt::format(reason, std::forward<Args>(args)...));
}

std::int64_t line_of(const toml::node& node) { return node.source().begin.line; }

/// A whole number keeps its point, so that 2.0 is not taken for an integer.
std::string to_text(double value) {
  const std::string text = fmt::format("{}", value);
  return text.find_first_of(".en") == text.npos ? text + ".0" : text;
}

/// A string, a number or a boolean as the command line would have it; nothing for other values.
std::optional<std::string> scalar_text(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* integer = node.as_integer()) return fmt::format("{}", integer->get());
  if (const auto* number = node.as_floating_point()) return to_text(number->get());
  if (const auto* boolean = node.as_boolean()) return boolean->get() ? "true" : "false";
  return std::nullopt;
}

/// "1,2".
std::string list_text(const std::string& file, const std::string& key, const toml::array& array) {
  std::vector<std::string> texts;
  for (const toml::node& element : array) {
    const auto text = scalar_text(element);
    if (!text) reject(file, line_of(element), "{} is not a list of plain values", key);
    texts.push_back(*text);
  }
  if (texts.empty()) reject(file, line_of(array), "{} is an empty list", key);
  return fmt::format("{}", fmt::join(texts, ","));
}

bool is_flag(const CLI::Option& option) { return option.get_items_expected_max() == 0; }
/// Whether the option is of a type: CLI11's name for it, perhaps with a validator's after it.
bool is_of(const CLI::Option& option, std::string_view type) {
  return std::string_view(option.get_type_name()).starts_with(type);
}
bool is_list(const CLI::Option& option) {  // add_list
  return is_of(option, "FLOAT,") || is_of(option, "INT,");
}

/// A TOML string. (toml++ 3.3 writes some that hold line ends and quotes so that it cannot read
/// them.)
std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (code < 0x20 || code == 0x7f) {
      result += fmt::format("\\u{:04x}", code);
    } else {
      if (c == '"' || c == '\\') result += '\\';
      result += c;
    }
  }
  return result + "\"";
}

/// Whether TOML can hold the text: a file's name may be any bytes.
bool is_utf8(const std::string& text) {
  try {
    return toml::parse("text=" + quoted(text)).contains("text");
  } catch (const toml::parse_error&) {
    return false;
  }
}

/// The option's value, be it given or the default.
std::string toml_value(const CLI::Option& option) {
  if (is_flag(option)) return option.as<bool>() ? "true" : "false";
  if (is_list(option)) {
    const auto text = option.as<std::string>();
    return is_of(option, "FLOAT")
               ? fmt::format("[{}]", fmt::join(parse_numbers<double>(text), ", "))
               : fmt::format("[{}]", fmt::join(parse_numbers<std::int64_t>(text), ", "));
  }
  if (is_of(option, "TEXT")) {
    const auto text = option.as<std::string>();
    check(is_utf8(text), "config",
          "{} '{}' is not UTF-8 text, which a configuration file must be; rename what it names",
          option.get_name(), text);
    return quoted(text);
  }
  if (is_of(option, "FLOAT")) return fmt::format("{}", option.as<double>());
  if (is_of(option, "INT")) return fmt::format("{}", option.as<std::int64_t>());
  const auto number = option.as<std::uint64_t>();
  const std::string text = fmt::format("{}", number);  // TOML's integers have 63 bits
  return number <= std::numeric_limits<std::int64_t>::max() ? text : quoted(text);
}

}  // namespace

ConfigFile ConfigFile::read(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  check(stream.is_open(), "config", "cannot read {}: {}", path.string(), std::strerror(errno));
  std::error_code ignored;
  check(!std::filesystem::is_directory(path, ignored), "config", "cannot read {}: it is a folder",
        path.string());
  return parse(std::string{std::istreambuf_iterator<char>(stream), {}}, path.string());
}

ConfigFile ConfigFile::parse(std::string_view text, std::string name) {
  ConfigFile config;
  config.name_ = std::move(name);
  // The TOML library takes zero bytes at the end for no text.
  if (const auto zero = text.find('\0'); zero != text.npos)
    reject(config.name_, 1 + std::count(text.begin(), text.begin() + static_cast<long>(zero), '\n'),
           "a zero byte: this is not a text");
  toml::table table;
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& error) {
    reject(config.name_, error.source().begin.line, "{}", error.description());
  }
  for (const auto& [key, node] : table) {
    const std::string name_of_key(key.str());
    if (const auto value = scalar_text(node)) {
      const Kind kind = node.is_string()    ? Kind::text
                        : node.is_boolean() ? Kind::boolean
                                            : Kind::number;
      config.settings_.push_back({name_of_key, kind, *value, line_of(node)});
    } else if (const auto* array = node.as_array()) {
      config.settings_.push_back(
          {name_of_key, Kind::list, list_text(config.name_, name_of_key, *array), line_of(node)});
    } else {
      reject(config.name_, line_of(node),
             "'{}' is a {}; options are strings, numbers, booleans or "
             "lists",
             name_of_key, node.is_table() ? "table" : "date or a time");
    }
  }
  std::stable_sort(config.settings_.begin(), config.settings_.end(),
                   [](const Setting& a, const Setting& b) { return a.line < b.line; });
  return config;
}

ConfigFile ConfigFile::without(std::string_view key) const {
  ConfigFile rest = *this;
  std::erase_if(rest.settings_, [&](const Setting& setting) { return setting.key == key; });
  return rest;
}

std::string ConfigFile::value(std::string_view key) const {
  for (const Setting& setting : settings_)
    if (setting.key == key) return setting.value;
  return "";
}

void ConfigFile::apply(CLI::App& app) const {
  std::map<const CLI::Option*, std::int64_t> lines;
  for (const Setting& setting : settings_) {
    CLI::Option* option = app.get_option_no_throw("--" + setting.key);
    if (!option) option = app.get_option_no_throw(setting.key);  // without dashes: by position
    if (!option) reject(name_, setting.line, "unknown key '{}'", setting.key);
    if (!option->get_configurable())
      reject(name_, setting.line, "'{}' belongs on the command line, not in a file", setting.key);
    const auto [first, is_new] = lines.emplace(option, setting.line);
    if (!is_new)
      reject(name_, setting.line, "'{}' was given in line {} already, under another name",
             setting.key, first->second);
    apply(setting, *option);
  }
}

void ConfigFile::apply(const Setting& setting, CLI::Option& option) const {
  const auto need = [&](bool holds, const char* wanted) {
    if (!holds) reject(name_, setting.line, "{} must be {}", setting.key, wanted);
  };
  need(!is_flag(option) || setting.kind == Kind::boolean, "true or false");
  need(is_flag(option) || setting.kind != Kind::boolean, "other than true or false");
  need(!is_of(option, "TEXT") || setting.kind == Kind::text, "a string, in quotes");
  need(is_list(option) || setting.kind != Kind::list, "a single value");
  try {
    option.run_callback_for_default()->default_val(
        is_flag(option) ? option.get_flag_value(setting.key, setting.value) : setting.value);
  } catch (const CLI::Error& error) {
    reject(name_, setting.line, "{}", one_line(error.what()));
  }
}

std::string to_toml(const CLI::App& app) {
  std::string text;
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_configurable()) continue;
    text += fmt::format("# {}\n", option->get_description());
    const std::string name = option->get_single_name();
    try {
      text += fmt::format("{}={}\n", name, toml_value(*option));
    } catch (const CLI::Error&) {  // its default is no value but words
      text += fmt::format("# {}: {}\n", name, option->get_default_str());
    }
  }
  return text;
}

}  // namespace gradus::apps
