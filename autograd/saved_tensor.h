// Tensors that ops keep for their backward.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <gradus/tensor/tensor.h>

namespace gradus {

/// A handle on a tensor as it is now. Were its elements changed in place before backward reads
/// them, the gradient would be that of other values: reading them is then an error. Changes are
/// told by Tensor::version(), which moves where a pointer to write through is taken; what is
/// written later through an old one is not seen.
class SavedTensor {
 public:
  SavedTensor() = default;
  SavedTensor(Tensor value);

  explicit operator bool() const { return value_.defined(); }
  const Shape& shape() const { return value_.shape(); }
  /// The tensor. Throws Error if it was changed since it was saved.
  const Tensor& get() const;

 private:
  Tensor value_;
  std::uint64_t version_ = 0;
};

/// Which memory was saved, without keeping it.
struct SavedNote {
  std::weak_ptr<const Storage> storage;
  std::uint64_t version;  ///< when it was saved
};

/// While one is alive, it notes what this thread saves: after a stretch of code, and once the graph
/// that it recorded is gone, what remains of it is what the code read from outside of itself.
class SavedNotes {
 public:
  SavedNotes();
  ~SavedNotes();
  SavedNotes(const SavedNotes&) = delete;
  SavedNotes& operator=(const SavedNotes&) = delete;

  /// The notes of memory that still exists, but for that of `result`.
  std::vector<SavedNote> remaining(const Tensor& result) const;

 private:
  friend class SavedTensor;
  std::vector<SavedNote> notes_;
  SavedNotes* outer_;  ///< notes, too
};

/// Throws Error if any of the memory was changed since it was saved.
void check_unchanged(const std::vector<SavedNote>& notes);

}  // namespace gradus
