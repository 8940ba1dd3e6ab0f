// How the programs' --help looks.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace gradus::apps {

/// What an option takes, in short: "INT in [0 - 4096]", "FLOAT > 0", "{adam,sgd}", "FILE"; "" for a
/// flag.
std::string value_name(const CLI::Option& option);

/// Help in lines of at most 100 columns: of each option its names, what it takes, its default.
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() { column_width(34); }
  std::string make_option_name(const CLI::Option* option, bool is_positional) const override;
  std::string make_option_opts(const CLI::Option* option) const override;
  std::string make_option_desc(const CLI::Option* option) const override;
};

}  // namespace gradus::apps
