// Where the programs and files that tests use lie: beside the test program, in a build folder as in
// an unpacked bundle.
#pragma once

#include <filesystem>
#include <string>

namespace gradus::test {

/// The folder that holds apps/ and tests/, found from this test program: DIR of
/// DIR/tests/test_apps.
inline std::filesystem::path root_folder() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path().parent_path();
}

/// A file of that folder: "apps/vicreg/train", "tests/reference/ops.safetensors".
inline std::string file_path(const std::string& name) { return (root_folder() / name).string(); }

}  // namespace gradus::test
