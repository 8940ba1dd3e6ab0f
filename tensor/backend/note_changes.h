// Which tensors a stretch of code changes.
#pragma once

#include <memory>
#include <vector>

#include <gradus/tensor/storage.h>

namespace gradus {

/// While one is alive, it notes the memory that this thread may change (Tensor::version).
class NoteChanges {
 public:
  explicit NoteChanges(std::vector<std::weak_ptr<Storage>>& changed);
  ~NoteChanges();
  NoteChanges(const NoteChanges&) = delete;
  NoteChanges& operator=(const NoteChanges&) = delete;

 private:
  std::vector<std::weak_ptr<Storage>>* outer_;
};

}  // namespace gradus
