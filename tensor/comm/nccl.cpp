#include "tensor/comm/nccl.h"

#include <dlfcn.h>
#include <nccl.h>

#include <array>
#include <set>
#include <vector>

#include <gradus/tensor/check.h>
#include "tensor/comm/pairs.h"
#include "tensor/cuda/runtime/runtime.h"

namespace gradus {
namespace {

/// The library's functions. It is opened when it is needed, so that a program starts without it.
struct Library {
  void* const handle = dlopen("libnccl.so.2", RTLD_NOW | RTLD_GLOBAL);

  template <class Function>
  Function* find(const char* name) const {
    return handle == nullptr ? nullptr : reinterpret_cast<Function*>(dlsym(handle, name));
  }
#define GRADUS_NCCL_FUNCTION(name) \
  decltype(nccl##name)* const name = find<decltype(nccl##name)>("nccl" #name)
  GRADUS_NCCL_FUNCTION(GetVersion);
  GRADUS_NCCL_FUNCTION(GetErrorString);
  GRADUS_NCCL_FUNCTION(GetUniqueId);
  GRADUS_NCCL_FUNCTION(CommInitRank);
  GRADUS_NCCL_FUNCTION(GroupStart);
  GRADUS_NCCL_FUNCTION(GroupEnd);
  GRADUS_NCCL_FUNCTION(Send);
  GRADUS_NCCL_FUNCTION(Recv);
  GRADUS_NCCL_FUNCTION(AllReduce);
#undef GRADUS_NCCL_FUNCTION
};

const Library& library() {
  static const Library opened;
  return opened;
}

void check_nccl(ncclResult_t result, const char* what) {
  check(result == ncclSuccess, "nccl",
        "{} failed: {}; NCCL_DEBUG=WARN in the environment makes NCCL say more", what,
        library().GetErrorString(result));
}

class NcclCommunicator : public Nccl {
 public:
  NcclCommunicator(const Processes& processes, const ncclUniqueId& id) {
    check_nccl(library().CommInitRank(&communicator_, processes.size(), id, processes.rank()),
               "connecting the GPUs");
  }

  void exchange(int partner, std::span<const std::byte> sent,
                std::span<std::byte> received) override {
    const cuda::LaunchRecord record("exchange",
                                    {.bytes = static_cast<double>(sent.size() + received.size())});
    if (record.skipped()) return;
    check_nccl(library().GroupStart(), "an exchange");
    ncclResult_t result = ncclSuccess;
    if (!sent.empty())
      result = library().Send(sent.data(), sent.size(), ncclUint8, partner, communicator_,
                              cuda::stream());
    if (result == ncclSuccess && !received.empty())
      result = library().Recv(received.data(), received.size(), ncclUint8, partner, communicator_,
                              cuda::stream());
    // A group that is left open would take up all later calls.
    const ncclResult_t ended = library().GroupEnd();
    check_nccl(result, "an exchange");
    check_nccl(ended, "an exchange");
    cuda::check_finished("exchange");
  }

  void sum(DType dtype, void* x, std::int64_t n) override {
    const auto type = dtype == DType::float64 ? ncclFloat64 : ncclFloat32;
    const auto count = static_cast<std::size_t>(n);
    const cuda::LaunchRecord record("sum",
                                    {.bytes = 2.0 * static_cast<double>(count * item_size(dtype))});
    if (record.skipped()) return;
    check_nccl(library().AllReduce(x, x, count, type, ncclSum, communicator_, cuda::stream()),
               "a sum");
    cuda::check_finished("sum");
  }

 private:
  ncclComm_t communicator_ = nullptr;  // ends with the process: others may wait for this one
};

/// What each process tells the others.
struct Card {
  std::array<std::byte, 16> gpu;
  int version;  ///< of NCCL's library; 0: there is none
};

/// Of memory of the host, where nothing is added.
Exchange overwrite(Processes& processes, void* memory) {
  return [&processes, memory = static_cast<std::byte*>(memory)](int partner, ByteRange sent,
                                                                ByteRange received, bool) {
    processes.exchange(Channel::gpu, partner, {memory + sent.begin, sent.size()},
                       {memory + received.begin, received.size()});
  };
}

std::vector<Card> cards_of_all(Processes& processes) {
  std::vector<Card> cards(static_cast<std::size_t>(processes.size()));
  Card& own = cards[static_cast<std::size_t>(processes.rank())];
  own = {cuda::gpu_identity(), 0};
  if (library().AllReduce != nullptr) library().GetVersion(&own.version);
  gather_in_pairs(processes.rank(), processes.size(), sizeof(Card),
                  overwrite(processes, cards.data()));
  return cards;
}

}  // namespace

GpuLink connect_gpus(Processes& processes) {
  const std::vector<Card> cards = cards_of_all(processes);
  std::set<std::array<std::byte, 16>> gpus;
  for (std::size_t rank = 0; rank < cards.size(); ++rank) {
    if (cards[rank].version == 0)
      return {.nccl = nullptr,
              .text = fmt::format("the host: process {} finds no libnccl.so.2", rank)};
    if (cards[rank].version != cards[0].version)
      return {.nccl = nullptr,
              .text = fmt::format("the host: process {} has another version of NCCL", rank)};
    if (!gpus.insert(cards[rank].gpu).second)
      return {.nccl = nullptr, .text = fmt::format("the host: process {} shares its GPU", rank)};
  }
  ncclUniqueId id;
  if (processes.rank() == 0) check_nccl(library().GetUniqueId(&id), "NCCL's start");
  broadcast_in_pairs(processes.rank(), processes.size(), 0, sizeof(id), overwrite(processes, &id));
  const int version = cards[0].version;
  return {
      .nccl = std::make_unique<NcclCommunicator>(processes, id),
      .text = fmt::format("NCCL {}.{}.{}", version / 10000, version / 100 % 100, version % 100)};
}

}  // namespace gradus
