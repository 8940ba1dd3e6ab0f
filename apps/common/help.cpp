#include "common/help.h"

#include <fmt/format.h>

#include <sstream>

namespace gradus::apps {
namespace {

constexpr std::size_t columns = 100;

/// The text's words in lines of at most `width` characters.
std::string wrapped(const std::string& text, std::size_t width) {
  std::istringstream words(text);
  std::string result, word;
  std::size_t used = 0;  // of the line
  while (words >> word) {
    const bool fits = used + 1 + word.size() <= width;
    if (!result.empty()) result += fits ? " " : "\n";
    used = fits && !result.empty() ? used + 1 + word.size() : word.size();
    result += word;
  }
  return result;
}

}  // namespace

std::string value_name(const CLI::Option& option) {
  // The type and what a check adds to it: "INT:INT in [0 - 1]", "FLOAT:> 0", "TEXT:{adam,sgd}".
  const std::string full = option.get_type_name();
  const std::size_t colon = full.find(':');
  if (option.get_type_size() == 0 || colon == full.npos) return full;
  const std::string type = full.substr(0, colon), rest = full.substr(colon + 1);
  return type == "TEXT" || rest.starts_with(type) ? rest : type + " " + rest;
}

std::string HelpFormatter::make_option_name(const CLI::Option* option, bool is_positional) const {
  std::string name = CLI::Formatter::make_option_name(option, is_positional);
  for (const std::string negated = "{false}"; name.find(negated) != name.npos;)
    name.erase(name.find(negated), negated.size());
  return name;
}

std::string HelpFormatter::make_option_opts(const CLI::Option* option) const {
  const std::string value = value_name(*option), by_default = option->get_default_str();
  return fmt::format("{}{}{}{}", value.empty() ? "" : " ", value, by_default.empty() ? "" : "=",
                     by_default);
}

std::string HelpFormatter::make_option_desc(const CLI::Option* option) const {
  return wrapped(option->get_description(), columns - column_width_);
}

}  // namespace gradus::apps
