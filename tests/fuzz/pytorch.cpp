// Any bytes are read, or refused with an Error; so is any pickle in a sound archive. The first byte
// of an input says which of the two the rest is.
#include <gradus/tensor/io/pytorch.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include <gradus/tensor/check.h>
#include "tests/fuzz/require.h"
#include "tests/support/temp_folder.h"
#include "tests/support/zip.h"

using namespace gradus;
using namespace gradus::test;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const TempFolder folder;
  const auto path = folder / "file";
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  if (data[0] % 2 == 0) {
    write_text(path, bytes);
  } else {
    write_zip(path,
              {{"data.pkl", bytes}, {"data/0", std::string(24, '\1')}, {"data/1", "12345678"}});
  }
  try {
    std::uint64_t total = 0;
    for (const auto& [name, tensor] : read_pytorch(path).tensors) {
      const std::string all(static_cast<const char*>(tensor.raw()), tensor.bytes());
      total += all.size();
    }
    require(total < 100'000'000, "tensors are bounded by the file");
  } catch (const Error& error) {
    require(error.message().starts_with("[load] cannot read "), "an error names the file");
  }
  return 0;
}
