// A reader of Python's pickle format, restricted to what torch.save writes of plain data and
// tensors. A pickle is a program for a stack machine, which in Python may call anything; here
// nothing is called but the few functions of `Global`, which only make values.
// The format: https://github.com/python/cpython/blob/main/Lib/pickletools.py
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string_view>
#include <variant>
#include <vector>

#include "tensor/io/pytorch/storage.h"

namespace gradus::pytorch {

/// What a pickle may name.
struct Global {
  enum class Kind : std::uint8_t { ordered_dict, size, tensor, parameter, storage };
  Kind kind;
  const StorageType* storage = nullptr;  ///< of kind `storage`
};

struct None {};
struct StorageValue {
  const Tensor* elements;
};
struct Container;

/// A value. Containers and tensors belong to the Unpickler, strings to the pickle's text.
using Value = std::variant<None, bool, std::int64_t, double, std::string_view, Global, StorageValue,
                           const Tensor*, Container*>;

/// A list or a tuple, or a dict (keys and values in turns). One may hold itself.
struct Container {
  bool is_dict = false;
  std::vector<Value> items{};
};

/// Runs a pickle of protocol 2 to 5. Anything outside the restricted format is an Error that says
/// where it stands, and what it names. The memory it takes is a small multiple of the pickle's.
class Unpickler {
 public:
  /// `text` must outlive it and its values.
  Unpickler(const Archive& archive, Storages& storages, std::string_view text)
      : archive_(archive), storages_(storages), text_(text) {}

  /// The value that was pickled.
  Value run();

 private:
  template <class... Args>
  [[noreturn]] void reject(fmt::format_string<Args...> reason, Args&&... args) const;

  // The text.
  std::string_view take(std::uint64_t bytes);
  std::string_view take_line();
  /// The little-endian number in the next `bytes` bytes.
  std::uint64_t take_number(int bytes);
  std::int64_t take_signed(std::uint64_t bytes);
  double take_double();

  // The stack.
  void push(Value value) { stack_.push_back(value); }
  Value pop();
  /// The value that pop() would take, which stays.
  const Value& top() const;
  /// What lies above the topmost mark, which goes with it.
  std::vector<Value> pop_to_mark();
  std::vector<Value> pop_count(int count);
  void push_container(bool is_dict, std::vector<Value> items);
  Container& top_container(bool is_dict);
  template <class T>
  T as(const Value& value, const char* wanted) const;
  const std::vector<Value>& as_items(const Value& value) const;
  std::vector<std::int64_t> as_integers(const Value& value) const;

  // The machine. Each of the first three returns false where the opcode is not among its own.
  bool step_literal(unsigned char opcode);
  bool step_container(unsigned char opcode);
  bool step_memory(unsigned char opcode);
  void step(unsigned char opcode);
  void append(bool is_dict, const std::vector<Value>& items);
  Value recall(std::uint64_t index) const;
  void push_global(std::string_view module, std::string_view name);
  void call(const Global& function, const std::vector<Value>& arguments);
  Value rebuild_tensor(const std::vector<Value>& arguments);
  void load_storage();

  const Archive& archive_;
  Storages& storages_;
  std::string_view text_;
  std::size_t position_ = 0;
  std::vector<Value> stack_;
  std::vector<std::size_t> marks_;
  std::map<std::uint64_t, Value> memo_;
  std::deque<Container> containers_;
  std::deque<Tensor> tensors_;
};

}  // namespace gradus::pytorch
