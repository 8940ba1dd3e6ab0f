// The emulated GPU's count of bank conflicts.
#include <doctest/doctest.h>

#include "tensor/cuda/emulator/bank_conflicts.h"
#include "tensor/cuda/shared_array.h"
#include "tests/cuda/device_array.h"
#include "tests/cuda/faulty.h"

using namespace gradus;
using namespace gradus::cuda;

namespace {

/// Lane l of a warp reads element `stride` l + offset and writes element l of another array.
template <class T>
__global__ void strided_kernel(int stride, float* result) {
  __shared__ SharedArray<T, 1056> from;
  __shared__ SharedArray<T, 32> to;
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < 1056; i += 32) from[i] = T(1);
  __syncthreads();
  to[lane] = from[stride * lane];
  result[lane] = static_cast<float>(to[lane]);
}

/// The lower lanes take one more turn of a loop than the others.
__global__ void diverging_kernel(float* result) {
  __shared__ SharedArray<float, 32> values;
  const int lane = static_cast<int>(threadIdx.x);
  values[lane] = 0;
  for (int i = 0; i < (lane < 16 ? 2 : 1); ++i) values[lane] += 1.0f;
  result[lane] = values[lane];
}

template <class T>
std::uint64_t conflicts_at(int stride) {
  const DeviceArray<float> result(32);
  const emulator::BankConflicts conflicts;
  run(strided_kernel<T>, 32, stride, result.data());
  return conflicts.count();
}

}  // namespace

TEST_CASE("the emulator counts bank conflicts") {
  CHECK(conflicts_at<float>(1) == 0);
  CHECK(conflicts_at<float>(2) == 1);
  CHECK(conflicts_at<float>(32) == 31);
  CHECK(conflicts_at<float>(33) == 0);
  CHECK(conflicts_at<float>(0) == 0);   // one word for all lanes
  CHECK(conflicts_at<double>(1) == 0);  // two turns are no conflict: 256 bytes take them
  CHECK(conflicts_at<double>(2) == 2);
  const DeviceArray<float> result(32);
  run(strided_kernel<float>, 32, 32, result.data());
  const emulator::BankConflicts conflicts;
  CHECK(conflicts.count() == 0);  // what ran before is not counted
  run(diverging_kernel, 32, result.data());
  CHECK(conflicts.count() == 0);
}
