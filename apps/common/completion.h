// Completion of a program's options by the shell.
#pragma once

#include <string>

namespace CLI {
class App;
}  // namespace CLI

namespace gradus::apps {

/// A script for bash and zsh, made of the options that the program has: after it was evaluated the
/// shell completes names of options, values of those that take one of a few, and files and folders.
std::string completion_script(const CLI::App& app);

}  // namespace gradus::apps
