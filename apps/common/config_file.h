// Configuration files: a program's options in TOML, one key an option.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace gradus::apps {

/// The contents of a file such as
///   recipe = "solo-learn"  # LARS
///   batch-size = 512
///   projector = [2048, 2048]
///
/// Errors are one line that begins with the file and the line at fault:
///   [config] run.toml:2: unknown key 'batchsize'
class ConfigFile {
 public:
  /// No settings.
  ConfigFile() = default;

  /// Reads and parses a file. Throws Error if it cannot be read, is not TOML (a key that is given
  /// twice included), or holds what no option takes: tables, dates.
  static ConfigFile read(const std::filesystem::path& path);
  /// Parses a text; `name` stands for it in errors.
  static ConfigFile parse(std::string_view text, std::string name);

  /// These settings but for that one, if it is there.
  ConfigFile without(std::string_view key) const;

  /// The text of a key's value, "" if the key is not there.
  std::string value(std::string_view key) const;

  /// Gives the options their values, as new defaults, so that a command line that is parsed
  /// afterwards wins. Throws Error on a key without an option, on an option under two of its names,
  /// and on a value that its option does not take.
  void apply(CLI::App& app) const;

 private:
  enum class Kind : std::uint8_t { text, number, boolean, list };
  struct Setting {
    std::string key;
    Kind kind;
    std::string value;  ///< as the command line would have it; "1,2" for a list
    std::int64_t line;
  };

  void apply(const Setting& setting, CLI::Option& option) const;

  std::string name_;
  std::vector<Setting> settings_;  ///< in the file's order
};

/// All options that a file may hold with the values that they have now, as TOML. After
/// `ConfigFile::parse(...).apply(...)` of that text the options have the same values.
std::string to_toml(const CLI::App& app);

}  // namespace gradus::apps
