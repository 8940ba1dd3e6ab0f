// The storages of a file of torch.save, and the tensors that view them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gradus/tensor/tensor.h>
#include "tensor/io/pytorch/archive.h"

namespace gradus::pytorch {

/// How a class of storages keeps its elements: as one of our types, or converted to it exactly.
struct StorageType;

/// The type of a class such as "torch.FloatStorage"; null where there is none of that name.
/// float16 becomes float32; bool becomes uint8; int8, int16 and int32 become int64.
const StorageType* storage_type(std::string_view class_name);

/// How a tensor lies in its storage, in elements.
struct View {
  std::int64_t offset = 0;
  std::vector<std::int64_t> sizes{};
  std::vector<std::int64_t> strides{};
};

/// Reads storages, each once, and makes tensors of them. Errors are of the file.
class Storages {
 public:
  explicit Storages(const Archive& archive);

  /// The elements of the entry data/`key`, which must be `count`.
  const Tensor& load(std::string_view key, const StorageType& type, std::int64_t count);

  /// The tensor that such a view is. A contiguous one shares the storage's memory; others are
  /// copied, as long as all copies together are justified by the size of the file: expanded tensors
  /// can claim any size.
  Tensor view(const Tensor& storage, const View& view);

 private:
  const Archive& archive_;
  std::map<std::string, Tensor, std::less<>> loaded_;
  std::uint64_t bytes_to_copy_;  ///< that copies may still have
};

}  // namespace gradus::pytorch
