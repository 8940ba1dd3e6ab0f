// Files of records in which an image lies plane by plane, as CIFAR-10, CIFAR-100 and STL-10 come.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include <gradus/tensor/tensor.h>

namespace gradus::data {

/// An official folder of files, and what errors say of it.
struct RecordFolder {
  std::string_view dataset;   ///< "cifar10": where an error is raised
  std::string_view name;      ///< of the official archive's folder
  std::string_view contents;  ///< its files
};

/// What a record is: label bytes, of which byte `label` counts and is `first_label` plus the class,
/// then the planes R, G and B of `side` x `side` bytes, each by rows or by columns. No side: labels
/// alone.
struct RecordFormat {
  std::int64_t label_bytes = 0;
  std::int64_t label = 0, first_label = 0, classes = 0;
  std::int64_t side = 0;
  bool by_columns = false;

  std::int64_t bytes() const { return label_bytes + 3 * side * side; }
};

/// `folder` itself or the official folder in it. Throws Error if it is none, or empty.
std::filesystem::path find_folder(const RecordFolder& expected,
                                  const std::filesystem::path& folder);

/// Throws Error unless `file` is there and has exactly `records` records.
void check_file(const RecordFolder& folder, const std::filesystem::path& file,
                const RecordFormat& format, std::int64_t records);

/// Reads the first `count` records: their images into `images` uint8 [count, side, side, 3], which
/// may be undefined without a side. Returns their classes, int64 [count], undefined without label
/// bytes. Throws Error, with the file and the record, on a label that stands for no class.
Tensor read_records(const RecordFolder& folder, const std::filesystem::path& file,
                    const RecordFormat& format, std::int64_t count, Tensor images);

}  // namespace gradus::data
