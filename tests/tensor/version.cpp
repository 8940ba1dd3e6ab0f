// Tensor::version: whatever changes a tensor in place counts.
#include <doctest/doctest.h>

#include <functional>
#include <vector>

#include <gradus/tensor/ops.h>
#include "tests/support/device.h"

using namespace gradus;
using namespace gradus::test;

namespace {

Tensor some(DType dtype = DType::float32) { return ones({3}, device_options(dtype)); }

/// After work(), the versions of `changed` have moved, those of `kept` have not.
void check_changes(const std::function<void()>& work, const std::vector<Tensor>& changed,
                   const std::vector<Tensor>& kept = {}) {
  const auto versions = [](const std::vector<Tensor>& tensors) {
    std::vector<std::uint64_t> all;
    for (const Tensor& tensor : tensors) all.push_back(tensor.version());
    return all;
  };
  const auto changed_before = versions(changed), kept_before = versions(kept);
  work();
  for (std::size_t i = 0; i < changed.size(); ++i) {
    CAPTURE(i);
    CHECK(changed[i].version() > changed_before[i]);
  }
  CHECK(versions(kept) == kept_before);
}

}  // namespace

TEST_CASE("pointers, fills and copies count as changes; reading and views do not") {
  Tensor x = some(), y = some();
  check_changes([&] { x.raw(); }, {x});
  check_changes([&] { x.data<float>(); }, {x});
  check_changes([&] { x.fill(2); }, {x});
  check_changes([&] { x.copy_from(y); }, {x}, {y});
  check_changes([&] { x.slice(1, 2).fill(2); }, {x});
  check_changes([&] { x.reshape({3, 1}).fill(2); }, {x});
  check_changes(
      [&] {
        const Tensor& read = x;
        read.raw();
        read.data<float>();
        x.to_vector<float>();
        x.slice(0, 1).item<float>();
        x.clone();
        x.to(DType::float64);
        x.to(Device::cpu);
        exp(x + y);
      },
      {}, {x, y});
}

TEST_CASE("ops that work in place count as changes of what they write") {
  Tensor x = some();
  const Tensor y = some();
  check_changes([&] { add_scaled(x, y, 2); }, {x}, {y});

  Tensor mean = some(), variance = some(), count = zeros({}, device_options(DType::int64));
  const BatchStatistics batch{some(), some()};
  check_changes([&] { batch_norm_track(mean, variance, count, batch, 4, 0.1); },
                {mean, variance, count}, {batch.mean, batch.variance});
}
