// Any bytes are read, or refused with an Error; what was read can be written and read again.
#include <gradus/tensor/io/safetensors.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include <gradus/tensor/check.h>
#include "tests/fuzz/require.h"
#include "tests/support/temp_folder.h"

namespace {

using namespace gradus;
using namespace gradus::test;

bool same_tensor(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         (a.bytes() == 0 || std::memcmp(a.raw(), b.raw(), a.bytes()) == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const TempFolder folder;
  const auto path = folder / "file", copy = folder / "copy";
  write_text(path, std::string(reinterpret_cast<const char*>(data), size));
  TensorFile file;
  try {
    file = read_safetensors(path);
  } catch (const Error& error) {
    require(error.message().starts_with("[load] cannot read "), "an error names the file");
    return 0;
  }
  write_safetensors(copy, file);
  const TensorFile again = read_safetensors(copy);
  require(again.metadata == file.metadata, "the same metadata");
  require(again.tensors.size() == file.tensors.size(), "as many tensors");
  for (const auto& [name, tensor] : file.tensors)
    require(same_tensor(again.tensors.at(name), tensor), "the same tensors");
  return 0;
}
