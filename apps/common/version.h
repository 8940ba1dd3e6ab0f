// What a program says of itself.
#pragma once

#include <string>

namespace CLI {
class App;
}  // namespace CLI

namespace gradus::apps {

/// The version and the commit that it was built from, "0.1.0 (commit 2628fb5)"; the latter is
/// unknown where the sources are not a git repository.
std::string version();

/// The answer to --version: the program's name and version(), the compiler, and what computes here:
/// the CPU's vector instructions, the GPU or why there is none, and matrix products.
std::string version_text(const CLI::App& app);

}  // namespace gradus::apps
