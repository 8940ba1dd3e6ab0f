#include "tensor/io/internal/reading.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

namespace gradus::io {

namespace fs = std::filesystem;
using nlohmann::json;

std::string quote(std::string_view text) {
  constexpr std::size_t longest = 120;
  const std::string line =
      json(text.substr(0, longest)).dump(-1, ' ', true, json::error_handler_t::replace);
  return line.size() <= longest ? line : line.substr(0, longest) + "...\"";
}

std::uint64_t readable_size(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) reject(path, "no such file");
  if (!fs::is_regular_file(status)) reject(path, "not a regular file");
  if (!std::ifstream(path, std::ios::binary)) reject(path, "{}", std::strerror(errno));
  const std::uint64_t bytes = fs::file_size(path, error);
  if (error) reject(path, "{}", error.message());
  return bytes;
}

}  // namespace gradus::io
