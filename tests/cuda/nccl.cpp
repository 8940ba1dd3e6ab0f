// NCCL on the one GPU that a machine may have: a process exchanges with itself.
#include "tensor/comm/nccl.h"

#include <doctest/doctest.h>

#include <gradus/tensor/ops.h>
#include <gradus/tensor/repeated_work.h>
#include "tensor/backend/runtime.h"
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/numbers.h"

using namespace gradus;
using namespace gradus::test;

namespace {

class Alone : public Processes {
 public:
  Alone() : Processes(0, 1) {}
  int local_rank() const override { return 0; }
  int local_size() const override { return 1; }
  void exchange(Channel, int, std::span<const std::byte>, std::span<std::byte>) override {
    FAIL("there is nobody");
  }
  void abort(int) override {}
};

std::span<std::byte> bytes_of(Tensor& x) { return {static_cast<std::byte*>(x.raw()), x.bytes()}; }

}  // namespace

TEST_CASE("NCCL's exchanges and sums, in ordinary work and recorded" * gpu_only()) {
  Alone alone;
  const GpuLink link = connect_gpus(alone);
  MESSAGE("exchanges of GPUs go through ", link.text);
  if (!link.nccl) return;  // no library here
  Tensor x = on_device(random_tensor<float>({1001}, 1)), y = empty({1001}, options_of(x));
  Tensor sum = empty({1001}, options_of(x));
  RepeatedWork work(Device::cuda, [&] {
    sum.copy_from(x);
    cuda::begin_exchanges();
    link.nccl->exchange(0, bytes_of(x), bytes_of(y));
    link.nccl->sum(DType::float32, sum.raw(), sum.numel());
    cuda::end_exchanges();
    cuda::join_exchanges();
    add_scaled(y, x);
  });
  for (int run = 0; run < 5; ++run) {
    x.fill(run);
    y.fill(-1);
    work.run();
    CHECK(same_bits(y, affine(x, 2, 0)));
    CHECK(same_bits(sum, x));
  }
  CHECK(work.failure() == "");
  CHECK(work.replays());
}
