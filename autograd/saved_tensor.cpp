#include <gradus/autograd/saved_tensor.h>

#include <utility>

#include <gradus/autograd/variable.h>
#include <gradus/tensor/check.h>

namespace gradus {
namespace {

thread_local ReadNotes* taking_notes = nullptr;  // the innermost of this thread

}  // namespace

void note_read(const Tensor& value) {
  if (!value.defined()) return;
  for (ReadNotes* notes = taking_notes; notes != nullptr; notes = notes->outer_)
    notes->notes_.push_back({value.storage(), value.version()});
}

void note_kept(const Recompute& recompute) {
  if (!recompute || taking_notes == nullptr) return;
  // Once for each function: those that it captured may share captures of their own.
  if (taking_notes->functions_.insert(recompute).second) const std::function copy = *recompute;
}

SavedTensor::SavedTensor(Tensor value) : value_(std::move(value)), version_(value_.version()) {
  note_read(value_);
}

SavedTensor::SavedTensor(const Variable& input) : version_(input.value().version()) {
  if (input.node() && input.node()->recompute) {
    recompute_ = input.node()->recompute;
  } else {
    value_ = input.value();
  }
  note_read(value_);
  note_kept(recompute_);
}

SavedTensor::SavedTensor(const SavedTensor& other)
    : value_(other.value_), recompute_(other.recompute_), version_(other.version_) {
  note_read(value_);
  note_kept(recompute_);
}

Tensor SavedTensor::get() const {
  // What is computed again has the version that it had when it was new.
  Tensor value = recompute_ ? (*recompute_)() : value_;
  check(value.version() == version_, "backward",
        "a {} tensor of shape {} that the gradient is computed from was changed in place after "
        "the forward pass that used it; change a clone, or run forward again",
        name(value.dtype()), value.shape());
  return value;
}

ReadNotes::ReadNotes() : outer_(std::exchange(taking_notes, this)) {}

ReadNotes::~ReadNotes() { taking_notes = outer_; }

std::vector<ReadNote> ReadNotes::remaining(const Tensor& result) const {
  std::vector<ReadNote> kept;
  for (const ReadNote& note : notes_) {
    const std::shared_ptr<const Storage> storage = note.storage.lock();
    if (storage && storage != result.storage().lock()) kept.push_back(note);
  }
  return kept;
}

std::size_t ReadNotes::bytes() const {
  std::set<std::shared_ptr<const Storage>> blocks;
  for (const ReadNote& note : notes_) blocks.insert(note.storage.lock());
  std::size_t bytes = 0;
  for (const auto& block : blocks) bytes += block ? block->bytes() : 0;
  return bytes;
}

void check_unchanged(const std::vector<ReadNote>& notes) {
  for (const ReadNote& note : notes) {
    const std::shared_ptr<const Storage> storage = note.storage.lock();
    check(!storage || storage->version() == note.version, "backward",
          "a tensor that a checkpointed function read was changed in place before backward called "
          "the function again; change a clone, or run forward again");
  }
}

}  // namespace gradus
