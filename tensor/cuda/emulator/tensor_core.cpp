#include "tensor/cuda/emulator/tensor_core.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <vector>

#include <gradus/tensor/check.h>
#include "tensor/cuda/emulator/intrinsics.h"
#include "tensor/cuda/emulator/memory.h"
#include "tensor/cuda/emulator/scheduler.h"

namespace gradus::cuda {
namespace emulator {
namespace {

constexpr std::size_t row_bytes = 16;  // that a copy moves and a lane names

struct Copy {
  std::uint32_t to;
  std::uint64_t group;
  std::array<unsigned char, row_bytes> bytes;
};

/// The copies that a thread has started and not waited for, in the order of their starts.
struct ThreadCopies {
  std::uint64_t block = 0;  // block_number: copies do not outlive their block
  std::uint64_t ended = 0;  // groups, which are counted from 0
  std::vector<Copy> under_way;
};

ThreadCopies& copies_of_this_thread() {
  static auto* all = new std::array<ThreadCopies, max_threads>;
  ThreadCopies& copies = (*all)[thread_index()];
  if (copies.block != block_number) {
    copies.block = block_number;
    copies.ended = 0;
    copies.under_way.clear();
  }
  return copies;
}

/// The 16 bytes of shared memory at an address, with their states.
struct SharedRow {
  unsigned char* data;
  ByteState* states;
};

SharedRow find_row(SharedAddress address, const char* what) {
  const DynamicShared memory = dynamic_shared_memory(0);
  if (address.value % row_bytes != 0) {
    fault(fmt::format("{}: byte {} of shared memory is not aligned to {}", what, address.value,
                      row_bytes));
  }
  if (std::size_t{address.value} + row_bytes > memory.size) {
    fault(fmt::format("{}: byte {} is outside of the {} bytes of dynamic shared memory", what,
                      address.value, memory.size));
  }
  return {memory.data + address.value, memory.states + address.value};
}

/// What a lane brings to load_matrices, and takes with it.
struct LoadOperands {
  std::array<std::uint16_t, 8> row;
  std::uint32_t* result;
};

/// What a lane brings to multiply_add; the sums change in place.
struct MultiplyOperands {
  float* c;
  const std::uint32_t* a;
  std::array<std::uint32_t, 2> b;
};

using Lanes = std::array<std::uint64_t, 32>;

template <class Operands>
Operands& operands_of(const Lanes& lanes, int lane) {
  return *reinterpret_cast<Operands*>(static_cast<std::uintptr_t>(lanes[lane]));
}

void load(const Lanes& lanes, bool transposed) {
  for (int lane = 0; lane < 32; ++lane) {
    const int row = lane / 4, column = lane % 4 * 2;
    for (int matrix = 0; matrix < 4; ++matrix) {
      const auto element = [&](int i, int j) -> std::uint32_t {
        return operands_of<LoadOperands>(lanes, matrix * 8 + i).row[j];
      };
      const std::uint32_t low = transposed ? element(column, row) : element(row, column);
      const std::uint32_t high = transposed ? element(column + 1, row) : element(row, column + 1);
      operands_of<LoadOperands>(lanes, lane).result[matrix] = low | high << 16;
    }
  }
}

/// The bfloat16 number in the lower (0) or the upper half of a word.
float half_of(std::uint32_t pair, int half) {
  return std::bit_cast<float>(half == 0 ? pair << 16 : pair & 0xFFFF0000u);
}

/// c += a b of a warp, where get(word, k) is the number at k of a word of a or b: it holds
/// `in_word` neighbours along k, 2 or 1.
template <int in_word, class Get>
void multiply(const Lanes& lanes, const Get& get) {
  constexpr int depth = 8 * in_word;
  float a[16][depth], b[depth][8], c[16][8];  // b: k by n, for an inner loop over neighbours
  for (int lane = 0; lane < 32; ++lane) {
    const auto& operands = operands_of<MultiplyOperands>(lanes, lane);
    const int row = lane / 4, word = lane % 4;
    for (int i = 0; i < 4; ++i) {
      for (int k = 0; k < in_word; ++k) {
        a[row + i % 2 * 8][(word + i / 2 * 4) * in_word + k] = get(operands.a[i], k);
      }
      c[row + i / 2 * 8][word * 2 + i % 2] = operands.c[i];
    }
    for (int i = 0; i < 2; ++i) {
      for (int k = 0; k < in_word; ++k) {
        b[(word + i * 4) * in_word + k][row] = get(operands.b[i], k);
      }
    }
  }
  for (int k = 0; k < depth; ++k) {
    for (int row = 0; row < 16; ++row) {
      for (int n = 0; n < 8; ++n) c[row][n] += a[row][k] * b[k][n];
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    float* result = operands_of<MultiplyOperands>(lanes, lane).c;
    for (int i = 0; i < 4; ++i) result[i] = c[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
  }
}

/// Each lane reads its row when it comes: what another lane writes after that needs a barrier.
void load_rows(WarpKind kind, std::uint32_t (&r)[4], SharedAddress address,
               std::source_location place) {
  const char* name = kind == WarpKind::load_matrices ? "load_matrices" : "load_matrices_transposed";
  const SharedRow row = find_row(address, name);
  for (std::size_t i = 0; i < row_bytes; ++i) {
    if (row.states[i] == ByteState::written) continue;
    fault(fmt::format("{} reads byte {} of shared memory {}", name, address.value + i,
                      row.states[i] == ByteState::under_way
                          ? "while a copy_async to it is under way"
                          : "before this block wrote it"));
  }
  count_shared_access(address.value, row_bytes);
  LoadOperands operands{{}, r};
  std::memcpy(operands.row.data(), row.data, row_bytes);
  wait_for_warp(kind, ~0u, reinterpret_cast<std::uintptr_t>(&operands), 0, place);
}

}  // namespace

std::uint32_t shared_offset(const void* p) {
  const DynamicShared memory = dynamic_shared_memory(0);
  const std::uintptr_t offset =
      reinterpret_cast<std::uintptr_t>(p) - reinterpret_cast<std::uintptr_t>(memory.data);
  if (offset > memory.size) {
    fault(fmt::format("a SharedAddress of {}, which is not in dynamic shared memory", p));
  }
  return static_cast<std::uint32_t>(offset);
}

void finish_copies(int pending) {
  ThreadCopies& copies = copies_of_this_thread();
  const auto is_awaited = [&](const Copy& copy) {
    return copy.group + static_cast<std::uint64_t>(pending) < copies.ended;
  };
  const DynamicShared memory = dynamic_shared_memory(0);
  const auto end = std::find_if_not(copies.under_way.begin(), copies.under_way.end(), is_awaited);
  for (auto copy = copies.under_way.begin(); copy != end; ++copy) {
    std::memcpy(memory.data + copy->to, copy->bytes.data(), row_bytes);
    std::fill_n(memory.states + copy->to, row_bytes, ByteState::written);
  }
  copies.under_way.erase(copies.under_way.begin(), end);
}

void run_matrix_operation(WarpKind kind, const Lanes& operands) {
  const bool loads = kind == WarpKind::load_matrices || kind == WarpKind::load_matrices_transposed;
  if (counts_accesses && !loads) note_tensor_product();
  if (kind == WarpKind::multiply_add) {
    multiply<2>(operands, half_of);
  } else if (kind == WarpKind::multiply_add_tf32) {
    multiply<1>(operands,
                [](std::uint32_t word, int) { return cut_to_tf32(std::bit_cast<float>(word)); });
  } else {
    load(operands, kind == WarpKind::load_matrices_transposed);
  }
}

}  // namespace emulator

using namespace emulator;

void copy_async(SharedAddress to, const void* from, bool valid) {
  const SharedRow row = find_row(to, "copy_async");
  if (reinterpret_cast<std::uintptr_t>(from) % row_bytes != 0) fault_misaligned(from, row_bytes);
  if (valid) DeviceMemory::instance().require(from, row_bytes, "copy_async");
  ThreadCopies& copies = copies_of_this_thread();
  Copy copy{to.value, copies.ended, {}};
  if (valid) std::memcpy(copy.bytes.data(), from, row_bytes);
  if (valid) count_global_access(from, row_bytes);
  count_shared_access(to.value, row_bytes);
  if (std::count(row.states, row.states + row_bytes, ByteState::under_way) != 0) {
    fault(fmt::format("copy_async to byte {} of shared memory while another one is under way",
                      to.value));
  }
  std::memset(row.data, 0xFF, row_bytes);
  std::fill_n(row.states, row_bytes, ByteState::under_way);
  copies.under_way.push_back(copy);
}

void commit_copies() { ++copies_of_this_thread().ended; }

void load_matrices(std::uint32_t (&r)[4], SharedAddress row, std::source_location place) {
  load_rows(WarpKind::load_matrices, r, row, place);
}

void load_matrices_transposed(std::uint32_t (&r)[4], SharedAddress row,
                              std::source_location place) {
  load_rows(WarpKind::load_matrices_transposed, r, row, place);
}

template <class E>
void multiply_add(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
                  std::source_location place) {
  constexpr WarpKind kind =
      std::is_same_v<E, float> ? WarpKind::multiply_add_tf32 : WarpKind::multiply_add;
  MultiplyOperands operands{c, a, {b0, b1}};
  wait_for_warp(kind, ~0u, reinterpret_cast<std::uintptr_t>(&operands), 0, place);
}
template void multiply_add<BFloat16>(float (&)[4], const std::uint32_t (&)[4], std::uint32_t,
                                     std::uint32_t, std::source_location);
template void multiply_add<float>(float (&)[4], const std::uint32_t (&)[4], std::uint32_t,
                                  std::uint32_t, std::source_location);

float round_to_tf32(float x) {
  return cut_to_tf32(
      std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) + (x == x ? 0x1000u : 0)));
}

}  // namespace gradus::cuda
