#include "tensor/io/pytorch/pickle.h"

#include <bit>

#include "tensor/io/internal/reading.h"

namespace gradus::pytorch {
namespace {

using io::quote;

/// The opcodes that torch.save's pickles are made of, by their names in pickletools.
enum Opcode : unsigned char {
  mark = '(',
  stop = '.',
  none = 'N',
  new_true = 0x88,
  new_false = 0x89,
  binint = 'J',
  binint1 = 'K',
  binint2 = 'M',
  long1 = 0x8a,
  binfloat = 'G',
  binunicode = 'X',
  short_binunicode = 0x8c,
  binunicode8 = 0x8d,
  empty_list = ']',
  empty_tuple = ')',
  empty_dict = '}',
  tuple = 't',
  tuple1 = 0x85,
  tuple2 = 0x86,
  tuple3 = 0x87,
  append_one = 'a',
  appends = 'e',
  setitem = 's',
  setitems = 'u',
  binput = 'q',
  long_binput = 'r',
  memoize = 0x94,
  binget = 'h',
  long_binget = 'j',
  global = 'c',
  stack_global = 0x93,
  reduce = 'R',
  build = 'b',
  binpersid = 'Q',
  proto = 0x80,
  frame = 0x95,
};

struct KnownGlobal {
  std::string_view name;
  Global::Kind kind;
};
constexpr KnownGlobal known_globals[] = {
    {"collections.OrderedDict", Global::Kind::ordered_dict},
    {"torch.Size", Global::Kind::size},
    {"torch._utils._rebuild_tensor_v2", Global::Kind::tensor},
    {"torch._utils._rebuild_parameter", Global::Kind::parameter},
};

}  // namespace

template <class... Args>
void Unpickler::reject(fmt::format_string<Args...> reason, Args&&... args) const {
  io::reject(archive_.path(), "entry data.pkl, byte {}: {}", position_,
             fmt::format(reason, std::forward<Args>(args)...));
}

std::string_view Unpickler::take(std::uint64_t bytes) {
  if (bytes > text_.size() - position_) reject("truncated: {} more bytes are needed", bytes);
  const std::string_view taken = text_.substr(position_, bytes);
  position_ += bytes;
  return taken;
}

std::string_view Unpickler::take_line() {
  const std::size_t end = text_.find('\n', position_);
  if (end == text_.npos) reject("truncated: a line does not end");
  const std::string_view line = text_.substr(position_, end - position_);
  position_ = end + 1;
  return line;
}

std::uint64_t Unpickler::take_number(int bytes) {
  const std::string_view taken = take(static_cast<std::uint64_t>(bytes));
  std::uint64_t number = 0;
  for (int i = bytes - 1; i >= 0; --i) number = number << 8 | static_cast<unsigned char>(taken[i]);
  return number;
}

std::int64_t Unpickler::take_signed(std::uint64_t bytes) {
  if (bytes > 8) reject("an integer of {} bytes; at most 8 are supported", bytes);
  if (bytes == 0) return 0;
  const auto unused = static_cast<int>(64 - 8 * bytes);
  return static_cast<std::int64_t>(take_number(static_cast<int>(bytes)) << unused) >> unused;
}

double Unpickler::take_double() {  // big-endian, unlike all else
  return std::bit_cast<double>(__builtin_bswap64(take_number(8)));
}

const Value& Unpickler::top() const {
  if (stack_.empty() || (!marks_.empty() && stack_.size() == marks_.back()))
    reject("corrupt: the stack is empty");
  return stack_.back();
}

Value Unpickler::pop() {
  const Value value = top();
  stack_.pop_back();
  return value;
}

std::vector<Value> Unpickler::pop_to_mark() {
  if (marks_.empty()) reject("corrupt: there is no mark");
  const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
  std::vector<Value> items(begin, stack_.end());
  stack_.erase(begin, stack_.end());
  marks_.pop_back();
  return items;
}

std::vector<Value> Unpickler::pop_count(int count) {
  std::vector<Value> items(static_cast<std::size_t>(count));
  for (int i = count - 1; i >= 0; --i) items[i] = pop();
  return items;
}

void Unpickler::push_container(bool is_dict, std::vector<Value> items) {
  push(&containers_.emplace_back(Container{is_dict, std::move(items)}));
}

template <class T>
T Unpickler::as(const Value& value, const char* wanted) const {
  const T* found = std::get_if<T>(&value);
  if (!found) reject("corrupt: {} is expected here", wanted);
  return *found;
}

Container& Unpickler::top_container(bool is_dict) {
  const char* wanted = is_dict ? "a dict" : "a list";
  Container* container = as<Container*>(top(), wanted);
  if (container->is_dict != is_dict) reject("corrupt: {} is expected here", wanted);
  return *container;
}

const std::vector<Value>& Unpickler::as_items(const Value& value) const {
  const Container* container = as<Container*>(value, "a tuple");
  if (container->is_dict) reject("corrupt: a tuple is expected here");
  return container->items;
}

std::vector<std::int64_t> Unpickler::as_integers(const Value& value) const {
  std::vector<std::int64_t> integers;
  for (const Value& item : as_items(value))
    integers.push_back(as<std::int64_t>(item, "an integer"));
  return integers;
}

bool Unpickler::step_literal(unsigned char opcode) {
  switch (opcode) {
    case none: push(None()); return true;
    case new_true: push(true); return true;
    case new_false: push(false); return true;
    case binint: push(take_signed(4)); return true;
    case binint1: push(static_cast<std::int64_t>(take_number(1))); return true;
    case binint2: push(static_cast<std::int64_t>(take_number(2))); return true;
    case long1: push(take_signed(take_number(1))); return true;
    case binfloat: push(take_double()); return true;
    case short_binunicode: push(take(take_number(1))); return true;
    case binunicode: push(take(take_number(4))); return true;
    case binunicode8: push(take(take_number(8))); return true;
    default: return false;
  }
}

bool Unpickler::step_container(unsigned char opcode) {
  switch (opcode) {
    case mark: marks_.push_back(stack_.size()); return true;
    case empty_list:
    case empty_tuple: push_container(false, {}); return true;
    case empty_dict: push_container(true, {}); return true;
    case tuple: push_container(false, pop_to_mark()); return true;
    case tuple1: push_container(false, pop_count(1)); return true;
    case tuple2: push_container(false, pop_count(2)); return true;
    case tuple3: push_container(false, pop_count(3)); return true;
    case append_one: append(false, pop_count(1)); return true;
    case appends: append(false, pop_to_mark()); return true;
    case setitem: append(true, pop_count(2)); return true;
    case setitems: append(true, pop_to_mark()); return true;
    default: return false;
  }
}

void Unpickler::append(bool is_dict, const std::vector<Value>& items) {
  if (is_dict && items.size() % 2 != 0) reject("corrupt: a key without a value");
  std::vector<Value>& all = top_container(is_dict).items;
  all.insert(all.end(), items.begin(), items.end());
}

Value Unpickler::recall(std::uint64_t index) const {
  const auto found = memo_.find(index);
  if (found == memo_.end()) reject("corrupt: memo {} is not set", index);
  return found->second;
}

bool Unpickler::step_memory(unsigned char opcode) {
  const auto remember = [&](std::uint64_t index) { memo_[index] = top(); };
  switch (opcode) {
    case binput: remember(take_number(1)); return true;
    case long_binput: remember(take_number(4)); return true;
    case memoize: remember(memo_.size()); return true;
    case binget: push(recall(take_number(1))); return true;
    case long_binget: push(recall(take_number(4))); return true;
    default: return false;
  }
}

void Unpickler::step(unsigned char opcode) {
  if (step_literal(opcode) || step_container(opcode) || step_memory(opcode)) return;
  switch (opcode) {
    case proto:
      if (const auto version = take_number(1); version < 2 || version > 5)
        reject("pickle protocol {}; supported are 2 to 5", version);
      return;
    case frame: take_number(8); return;
    case global: {
      const std::string_view module = take_line();
      return push_global(module, take_line());
    }
    case stack_global: {
      const std::vector<Value> names = pop_count(2);
      return push_global(as<std::string_view>(names[0], "a string"),
                         as<std::string_view>(names[1], "a string"));
    }
    case reduce: {
      const std::vector<Value>& arguments = as_items(pop());
      return call(as<Global>(pop(), "a function"), arguments);
    }
    case build:  // attributes, as a state_dict's _metadata, are passed over
      pop();
      top_container(true);
      return;
    case binpersid: return load_storage();
    default:
      reject(
          "opcode 0x{:02x}: an object that is neither a tensor nor plain data (dict, list, "
          "tuple, number, string, None)",
          opcode);
  }
}

Value Unpickler::run() {
  if (!text_.starts_with(static_cast<char>(proto))) reject("not a pickle of protocol 2 to 5");
  while (true) {
    const auto opcode = static_cast<unsigned char>(take(1)[0]);
    if (opcode == stop) return pop();
    step(opcode);
  }
}

void Unpickler::push_global(std::string_view module, std::string_view name) {
  const std::string full = fmt::format("{}.{}", module, name);
  for (const KnownGlobal& known : known_globals)
    if (known.name == full) return push(Global{known.kind});
  if (const StorageType* type = storage_type(full))
    return push(Global{Global::Kind::storage, type});
  reject(
      "it names {}, which is neither a tensor of a supported type nor plain data, and is not "
      "executed; save a state_dict alone: torch.save(model.state_dict(), FILE)",
      quote(full));
}

void Unpickler::call(const Global& function, const std::vector<Value>& arguments) {
  switch (function.kind) {
    case Global::Kind::ordered_dict:
      if (!arguments.empty()) reject("an OrderedDict with arguments is not supported");
      return push_container(true, {});
    case Global::Kind::size:
      if (arguments.size() != 1) reject("corrupt: torch.Size needs one argument");
      as_items(arguments[0]);
      return push(arguments[0]);
    case Global::Kind::tensor: return push(rebuild_tensor(arguments));
    case Global::Kind::parameter:  // data, requires_grad, backward hooks
      if (arguments.size() != 3) reject("corrupt: a Parameter needs three arguments");
      return push(as<const Tensor*>(arguments[0], "a tensor"));
    case Global::Kind::storage: reject("corrupt: a storage that is called");
  }
}

Value Unpickler::rebuild_tensor(const std::vector<Value>& arguments) {
  // storage, offset, sizes, strides, requires_grad, backward hooks, and maybe metadata
  if (arguments.size() < 6 || arguments.size() > 7)
    reject("corrupt: a tensor of {} arguments", arguments.size());
  if (arguments.size() == 7 && !std::holds_alternative<None>(arguments[6]) &&
      !as<Container*>(arguments[6], "a dict")->items.empty())
    reject(
        "a tensor has metadata, as one whose elements are still to be negated; save its clone()");
  const Tensor& storage = *as<StorageValue>(arguments[0], "a storage").elements;
  const View view{.offset = as<std::int64_t>(arguments[1], "an integer"),
                  .sizes = as_integers(arguments[2]),
                  .strides = as_integers(arguments[3])};
  return &tensors_.emplace_back(storages_.view(storage, view));
}

void Unpickler::load_storage() {
  // "storage", class, key, device, elements
  const std::vector<Value>& id = as_items(pop());
  if (id.size() != 5 || as<std::string_view>(id[0], "a string") != "storage")
    reject("corrupt: not the name of a storage");
  const Global type = as<Global>(id[1], "a storage class");
  if (type.kind != Global::Kind::storage) reject("corrupt: a storage class is expected here");
  push(StorageValue{&storages_.load(as<std::string_view>(id[2], "a string"), *type.storage,
                                    as<std::int64_t>(id[4], "an integer"))});
}

}  // namespace gradus::pytorch
