// Tensors that ops keep for their backward.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <vector>

#include <gradus/autograd/variable.h>

namespace gradus {

/// A handle on a tensor as it is now. Were its elements changed in place before backward reads
/// them, the gradient would be that of other values: reading them is then an error. Changes are
/// told by Tensor::version(), which moves where a pointer to write through is taken; what is
/// written later through an old one is not seen.
class SavedTensor {
 public:
  SavedTensor() = default;
  SavedTensor(Tensor value);
  /// An op's input: its value, or where that is recomputed (checkpoint.h), how.
  SavedTensor(const Variable& input);
  /// Copying one counts as reading it (ReadNotes): copying a closure tells what it keeps.
  SavedTensor(const SavedTensor& other);
  SavedTensor(SavedTensor&&) = default;
  SavedTensor& operator=(const SavedTensor&) = default;
  SavedTensor& operator=(SavedTensor&&) = default;
  ~SavedTensor() = default;

  explicit operator bool() const { return value_.defined() || recompute_; }
  /// The tensor. Throws Error if it was changed since it was saved.
  Tensor get() const;

 private:
  Tensor value_;  ///< undefined where there is recompute_
  Recompute recompute_;
  std::uint64_t version_ = 0;
};

/// Which memory was read, without keeping it.
struct ReadNote {
  std::weak_ptr<const Storage> storage;
  std::uint64_t version;  ///< when it was read
};

/// While one is alive, it notes what this thread's ops read: the values of their inputs, and what
/// they save. After a stretch of code, and once the graph that it recorded is gone, what remains of
/// it is what the code read from outside of itself.
class ReadNotes {
 public:
  ReadNotes();
  ~ReadNotes();
  ReadNotes(const ReadNotes&) = delete;
  ReadNotes& operator=(const ReadNotes&) = delete;

  /// The notes of memory that still exists, but for that of `result`.
  std::vector<ReadNote> remaining(const Tensor& result) const;
  /// Size of the noted memory that still exists, each block counted once.
  std::size_t bytes() const;

 private:
  friend void note_read(const Tensor& value);
  friend void note_kept(const Recompute& recompute);
  std::vector<ReadNote> notes_;
  std::set<std::shared_ptr<const void>> functions_;  ///< whose captures were noted
  ReadNotes* outer_;                                 ///< notes, too
};

/// Notes a tensor that an op reads, where notes are taken.
void note_read(const Tensor& value);
/// Notes what such a function keeps.
void note_kept(const Recompute& recompute);

/// Throws Error if any of the memory was changed since it was read.
void check_unchanged(const std::vector<ReadNote>& notes);

}  // namespace gradus
