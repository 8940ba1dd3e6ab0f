#include "common/completion.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <vector>

#include "common/help.h"

namespace gradus::apps {
namespace {

/// The line of shell that sets COMPREPLY to the values of an option that takes `value`
/// (value_name).
std::string values(const std::string& value) {
  if (value == "FILE") return "files -f";
  if (value == "FOLDER") return "files -d";
  if (!value.starts_with('{')) return ":";  // a number: nothing to complete
  std::string words = value.substr(1, value.find('}') - 1);
  for (char& c : words)
    if (c == ',') c = ' ';
  return fmt::format("words \"{}\"", words);
}

constexpr const char* script = R"sh(# bash and zsh: eval "$({0} --completion)"
if [ -n "$ZSH_VERSION" ]; then autoload -U +X compinit bashcompinit; compinit; bashcompinit; fi
_{0}() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} option=${{COMP_WORDS[COMP_CWORD-1]}}
  if [ "$current" = "=" ]; then
    current=
  elif [ "$option" = "=" ]; then
    option=${{COMP_WORDS[COMP_CWORD-2]}}
  fi
  words() {{ COMPREPLY=($(compgen -W "$1" -- "$current")); }}
  files() {{ local IFS=$'\n'; COMPREPLY=($(compgen $1 -- "$current")); }}
  COMPREPLY=()
  case $option in
{1}    *)
      case $current in
        -*) words "{2}" ;;
        *) files -f ;;
      esac ;;
  esac
}}
complete -o filenames -F _{0} {0}
)sh";

}  // namespace

std::string completion_script(const CLI::App& app) {
  std::vector<std::string> all;
  std::map<std::string, std::vector<std::string>> options_by_values;
  for (const CLI::Option* option : app.get_options()) {
    std::vector<std::string> names;
    for (const std::string& name : option->get_snames()) names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    all.insert(all.end(), names.begin(), names.end());
    const std::string value = value_name(*option);
    if (value.empty() || names.empty()) continue;  // a flag, or an argument without a name
    auto& alike = options_by_values[values(value)];
    alike.insert(alike.end(), names.begin(), names.end());
  }
  std::string cases;
  for (const auto& [line, names] : options_by_values)
    cases += fmt::format("    {}) {} ;;\n", fmt::join(names, "|"), line);
  return fmt::format(fmt::runtime(script), app.get_name(), cases, fmt::join(all, " "));
}

}  // namespace gradus::apps
