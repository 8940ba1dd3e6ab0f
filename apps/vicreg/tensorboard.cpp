#include "vicreg/tensorboard.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>

#include <gradus/tensor/check.h>

namespace gradus::vicreg {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little);  // as the files are

/// The bytes of a number as they lie in memory.
template <class Number>
std::string raw(Number number) {
  return std::string(std::bit_cast<std::array<char, sizeof number>>(number).data(), sizeof number);
}

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

// The fields of a protocol buffer message: the field's number and how it is written, then the
// value.
std::string field(std::uint32_t number, std::uint64_t value) {
  return varint(number << 3) + varint(value);
}
std::string field(std::uint32_t number, double value) {
  return varint(number << 3 | 1) + raw(value);
}
std::string field(std::uint32_t number, float value) {
  return varint(number << 3 | 5) + raw(value);
}
std::string field(std::uint32_t number, std::string_view bytes) {  // also a message
  return varint(number << 3 | 2) + varint(bytes.size()) + std::string(bytes);
}

// Summary.Value: its tag, and one of simple_value (2), image (4) and histo (5).
constexpr std::uint32_t simple_value = 2, image = 4, histogram = 5;
template <class Value>
std::string summary_value(std::string_view tag, std::uint32_t kind, const Value& value) {
  return field(1, field(1, tag) + field(kind, value));  // Summary.value
}

/// HistogramProto of the finite values, in buckets of one width.
std::string histogram_of(const std::vector<float>& values) {
  constexpr std::size_t buckets = 64;
  double least = INFINITY, largest = -INFINITY, sum = 0, sum_of_squares = 0;
  std::uint64_t count = 0;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    least = std::min(least, value);
    largest = std::max(largest, value);
    sum += value;
    sum_of_squares += value * value;
    ++count;
  }
  if (count == 0) least = largest = 0;
  const double width = largest > least ? (largest - least) / buckets : 1;
  std::vector<double> counts(buckets, 0.0);
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    const auto bucket = static_cast<std::size_t>((value - least) / width);
    ++counts[std::min(bucket, buckets - 1)];
  }
  std::string limits, packed;
  for (std::size_t i = 0; i < buckets; ++i) {
    limits += raw(i + 1 == buckets && largest > least ? largest
                                                      : least + width * static_cast<double>(i + 1));
    packed += raw(counts[i]);
  }
  return field(1, least) + field(2, largest) + field(3, static_cast<double>(count)) +
         field(4, sum) + field(5, sum_of_squares) + field(6, limits) + field(7, packed);
}

/// TFRecord's form of a checksum.
std::uint32_t masked(std::uint32_t crc) { return std::rotr(crc, 15) + 0xa282ead8u; }

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

constexpr std::string_view file_prefix = "events.out.tfevents.";

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  static const std::array<std::uint32_t, 256> table = [] {
    std::array<std::uint32_t, 256> entries{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t crc = i;
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0u);
      entries[i] = crc;
    }
    return entries;
  }();
  std::uint32_t crc = ~0u;
  for (const char c : bytes) crc = (crc >> 8) ^ table[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  return ~crc;
}

void remove_event_files(const fs::path& folder) {
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().filename().string().starts_with(file_prefix)) fs::remove(entry.path());
}

TensorBoard::TensorBoard(const fs::path& folder, std::int64_t resumed_step) {
  if (resumed_step == 0) remove_event_files(folder);
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host = {"host"};
  path_ = folder / fmt::format("{}{:010.0f}.{}.{}", file_prefix, seconds_since_1970(), host.data(),
                               ::getpid());
  file_.reset(std::fopen(path_.c_str(), "wb"));
  check(file_ != nullptr, "tensorboard", "cannot write {}: {}", path_.string(),
        std::strerror(errno));
  write_event(field(3, std::string_view("brain.Event:2")));  // file_version
  if (resumed_step > 0)  // session_log, status START: steps from this one on are made anew
    write_event(field(2, static_cast<std::uint64_t>(resumed_step + 1)) +
                field(7, field(1, std::uint64_t{1})));
}

void TensorBoard::write(const nlohmann::ordered_json& record) {
  std::string values;
  for (const auto& [key, value] : record.items())
    if (value.is_number() && key != "step")
      values += summary_value(key, simple_value, value.get<float>());
  write_summary(values, record.at("step").get<std::int64_t>());
}

void TensorBoard::write(const std::vector<NamedParameter>& parameters, std::int64_t step) {
  const auto values_of = [](const Tensor& tensor) {
    return tensor.to(Device::cpu).to(DType::float32).to_vector<float>();
  };
  for (const auto& [name, parameter] : parameters) {
    std::string values = summary_value(fmt::format("weights/{}", name), histogram,
                                       histogram_of(values_of(parameter->value())));
    if (parameter->grad().defined())
      values += summary_value(fmt::format("gradients/{}", name), histogram,
                              histogram_of(values_of(parameter->grad())));
    write_summary(values, step);
  }
}

void TensorBoard::write_image(std::string_view tag, std::string_view png, std::int64_t step) {
  // Width and height stand in the header, most significant byte first.
  const auto number_at = [&](std::size_t at) {
    std::uint64_t value = 0;
    for (std::size_t i = at; i < at + 4; ++i)
      value = value << 8 | static_cast<unsigned char>(png[i]);
    return value;
  };
  check(png.size() > 24 && png.starts_with("\x89PNG"), "tensorboard", "{} is no PNG", tag);
  const std::string message = field(1, number_at(20)) + field(2, number_at(16)) +
                              field(3, std::uint64_t{3}) + field(4, png);  // 3: RGB
  write_summary(summary_value(tag, image, std::string_view(message)), step);
}

void TensorBoard::write_summary(std::string_view values, std::int64_t step) {
  write_event(field(2, static_cast<std::uint64_t>(step)) + field(5, values));
}

void TensorBoard::write_event(std::string_view fields) {
  const std::string event = field(1, seconds_since_1970()) + std::string(fields);
  const std::string length = raw(static_cast<std::uint64_t>(event.size()));
  const std::string record =
      length + raw(masked(crc32c(length))) + event + raw(masked(crc32c(event)));
  const bool written = std::fwrite(record.data(), 1, record.size(), file_.get()) == record.size() &&
                       std::fflush(file_.get()) == 0;
  check(written, "tensorboard", "cannot write {}: {}", path_.string(), std::strerror(errno));
}

}  // namespace gradus::vicreg
