// Event files, which TensorBoard shows.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string_view>
#include <vector>

#include <gradus/autograd/parameter.h>

namespace gradus::vicreg {

/// CRC-32C (Castagnoli) of bytes, as RFC 3720 defines it: of "123456789" it is 0xe3069283.
std::uint32_t crc32c(std::string_view bytes);

/// Removes the event files of a folder.
void remove_event_files(const std::filesystem::path& folder);

/// Appends to an event file: records of TensorFlow's TFRecord format, each an Event of its protocol
/// buffers (event.proto, summary.proto), of which this writes the few fields that are needed. Each
/// record is flushed as it is written.
class TensorBoard {
 public:
  /// Makes a new file "events.out.tfevents.<time>.<host>.<process>" in `folder` for a run that goes
  /// on after `resumed_step` steps: TensorBoard then forgets what files before it hold of later
  /// ones. For a new run (0) the folder's event files are removed first.
  TensorBoard(const std::filesystem::path& folder, std::int64_t resumed_step);

  /// Each number of a record of metrics.jsonl as a scalar under its key, at the record's step.
  void write(const nlohmann::ordered_json& record);
  /// Histograms of the parameters and, where they have one, of their gradients: "weights/NAME" and
  /// "gradients/NAME". What is not finite is left out.
  void write(const std::vector<NamedParameter>& parameters, std::int64_t step);
  /// An image under the name `tag`: `png` is the bytes of a PNG file of colours.
  void write_image(std::string_view tag, std::string_view png, std::int64_t step);

 private:
  void write_event(std::string_view fields);
  void write_summary(std::string_view values, std::int64_t step);

  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace gradus::vicreg
