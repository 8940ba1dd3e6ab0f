#include "tensor/comm/gpu.h"

#include <vector>

#include <gradus/tensor/ops.h>
#include "tensor/backend/dispatch.h"
#include "tensor/backend/runtime.h"
#include "tensor/comm/pairs.h"

namespace gradus::gpu {
namespace {

/// While one is alive, launches go to the stream of exchanges.
class OnExchangeStream {
 public:
  OnExchangeStream() { cuda::begin_exchanges(); }
  ~OnExchangeStream() { cuda::end_exchanges(); }
  OnExchangeStream(const OnExchangeStream&) = delete;
  OnExchangeStream& operator=(const OnExchangeStream&) = delete;
};

/// Joins the exchanges at its end, before it lets go of the tensors that they use.
class Joined {
 public:
  explicit Joined(std::vector<Tensor> held = {}) : held_(std::move(held)) {}
  ~Joined() { cuda::join_exchanges(); }
  Joined(const Joined&) = delete;
  Joined& operator=(const Joined&) = delete;

 private:
  std::vector<Tensor> held_;
};

std::span<std::byte> bytes_of(Tensor& x, ByteRange range) {
  return {static_cast<std::byte*>(x.raw()) + range.begin, range.size()};
}

/// Of x's memory, where nothing is added.
Exchange overwrite(Processes& processes, Tensor& x, Channel channel) {
  return [&processes, &x, channel](int partner, ByteRange sent, ByteRange received, bool) {
    processes.exchange_on_gpu(channel, partner, bytes_of(x, sent), bytes_of(x, received));
  };
}

}  // namespace

StartedSum start_sum(Processes& processes, Tensor x, Channel channel) {
  dispatch_full_precision("all_reduce", x.dtype(), []<class T>() {});  // another one is refused
  const std::int64_t n = x.numel();
  if (processes.any_order()) {
    auto started = std::make_shared<Joined>(std::vector{x});
    const OnExchangeStream stream;
    if (processes.sum_in_any_order_on_gpu(x.dtype(), x.raw(), n)) return started;
  }
  const Tensor numbers = x.reshape({n});
  Tensor more = empty({x.bytes() <= short_sum_bytes ? n : (n + 1) / 2}, options_of(x));
  auto started = std::make_shared<Joined>(std::vector{x, more});
  const OnExchangeStream stream;
  const Exchange replace = overwrite(processes, x, channel);
  const std::size_t size = item_size(x.dtype());
  sum_in_pairs(processes.rank(), processes.size(), n, size,
               [&](int partner, ByteRange sent, ByteRange received, bool adds) {
                 if (!adds) return replace(partner, sent, received, false);
                 processes.exchange_on_gpu(channel, partner, bytes_of(x, sent),
                                           bytes_of(more, {0, received.size()}));
                 Tensor kept = numbers.slice(static_cast<std::int64_t>(received.begin / size),
                                             static_cast<std::int64_t>(received.end / size));
                 add_scaled(kept, more.slice(0, kept.numel()));
               });
  return started;
}

Tensor gather(Processes& processes, const Tensor& x) {
  std::vector<std::int64_t> sizes{processes.size()};
  for (int axis = 0; axis < x.rank(); ++axis) sizes.push_back(x.size(axis));
  Tensor all = empty(Shape(sizes), options_of(x));
  all.slice(processes.rank(), processes.rank() + 1).reshape(x.shape()).copy_from(x);
  const Joined join;
  const OnExchangeStream stream;
  gather_in_pairs(processes.rank(), processes.size(), x.bytes(),
                  overwrite(processes, all, Channel::foreground));
  return all;
}

void broadcast(Processes& processes, Tensor& x, int root) {
  const Joined join;
  const OnExchangeStream stream;
  broadcast_in_pairs(processes.rank(), processes.size(), root, x.bytes(),
                     overwrite(processes, x, Channel::foreground));
}

}  // namespace gradus::gpu
