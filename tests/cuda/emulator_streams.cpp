// The emulated GPU: captured streams.
#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <vector>

#include "tests/cuda/device_array.h"

using namespace gradus;
using namespace gradus::cuda;
using namespace gradus::cuda::emulator;

namespace {

__global__ void add_kernel(int* x, int value) { x[threadIdx.x] += value; }
__global__ void add_first_kernel(const int* term, int* x) { x[threadIdx.x] += *term; }

}  // namespace

TEST_CASE(
    "emulator: a captured graph does nothing until it is launched, then all of it each time") {
  cudaStream_t stream = nullptr;
  REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  const DeviceArray<int> x(std::vector<int>(32, 1)), term(std::vector<int>{0}), y(32);
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  CHECK(cudaMemsetAsync(term.data(), 0, sizeof(int), stream) == cudaSuccess);
  CHECK(launch("add", add_kernel, 1, 1, 0, stream, term.data(), 5) == cudaSuccess);
  CHECK(launch("add_first", add_first_kernel, 1, 32, 0, stream, term.data(), x.data()) ==
        cudaSuccess);
  CHECK(cudaMemcpyAsync(y.data(), x.data(), 32 * sizeof(int), cudaMemcpyDeviceToDevice, stream) ==
        cudaSuccess);
  // What would wait or allocate is refused, and forgotten once asked for.
  void* memory = nullptr;
  CHECK(cudaMallocAsync(&memory, 16, stream) == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaMalloc(&memory, 16) == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaStreamSynchronize(stream) == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaDeviceSynchronize() == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaGetLastError() == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaGetLastError() == cudaSuccess);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  REQUIRE(cudaGraphInstantiate(&executable, graph) == cudaSuccess);
  CHECK(x.values() == std::vector<int>(32, 1));
  for (int i = 1; i <= 3; ++i) {
    REQUIRE(cudaGraphLaunch(executable, stream) == cudaSuccess);
    CHECK(x.values() == std::vector<int>(32, 1 + 5 * i));
    CHECK(y.values() == x.values());
  }
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

TEST_CASE("emulator: another stream joins a capture by an event, and must be waited for") {
  cudaStream_t first = nullptr, second = nullptr;
  cudaEvent_t event = nullptr;
  REQUIRE(cudaStreamCreate(&first) == cudaSuccess);
  REQUIRE(cudaStreamCreate(&second) == cudaSuccess);
  REQUIRE(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
  const DeviceArray<int> x(std::vector<int>(4, 1));
  REQUIRE(cudaStreamBeginCapture(first, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  REQUIRE(cudaEventRecord(event, first) == cudaSuccess);
  REQUIRE(cudaStreamWaitEvent(second, event) == cudaSuccess);
  REQUIRE(launch("add", add_kernel, 1, 4, 0, second, x.data(), 2) == cudaSuccess);
  cudaGraph_t graph = nullptr;
  SUBCASE("it is not") {
    CHECK(cudaStreamEndCapture(first, &graph) == cudaErrorStreamCaptureUnjoined);
    CHECK(cudaGetLastError() == cudaErrorStreamCaptureUnjoined);
    CHECK(graph == nullptr);
  }
  SUBCASE("it is, and the capture ends where it began") {
    REQUIRE(cudaEventRecord(event, second) == cudaSuccess);
    REQUIRE(cudaStreamWaitEvent(first, event) == cudaSuccess);
    CHECK(cudaStreamEndCapture(second, &graph) == cudaErrorStreamCaptureUnmatched);
    CHECK(cudaGetLastError() == cudaErrorStreamCaptureUnmatched);
    REQUIRE(cudaStreamEndCapture(first, &graph) == cudaSuccess);
    cudaGraphExec_t executable = nullptr;
    REQUIRE(cudaGraphInstantiate(&executable, graph) == cudaSuccess);
    REQUIRE(launch("add", add_kernel, 1, 4, 0, second, x.data(), 10) == cudaSuccess);
    CHECK(x.values() == std::vector<int>(4, 11));
    REQUIRE(cudaGraphLaunch(executable, first) == cudaSuccess);
    CHECK(x.values() == std::vector<int>(4, 13));
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
  }
  cudaEventDestroy(event);
  cudaStreamDestroy(first);
  cudaStreamDestroy(second);
}

TEST_CASE("emulator: a graph's branch runs at once, or as late as the wait for it allows") {
  cudaStream_t first = nullptr, second = nullptr;
  cudaEvent_t event = nullptr;
  REQUIRE(cudaStreamCreate(&first) == cudaSuccess);
  REQUIRE(cudaStreamCreate(&second) == cudaSuccess);
  REQUIRE(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
  for (const bool late : {false, true}) {
    CAPTURE(late);
    set_late_branches(late);
    const DeviceArray<int> x(std::vector<int>{7}), y(std::vector<int>{7});
    REQUIRE(cudaStreamBeginCapture(first, cudaStreamCaptureModeRelaxed) == cudaSuccess);
    REQUIRE(cudaEventRecord(event, first) == cudaSuccess);
    REQUIRE(cudaStreamWaitEvent(second, event) == cudaSuccess);
    REQUIRE(launch("add", add_kernel, 1, 1, 0, second, x.data(), 2) == cudaSuccess);
    REQUIRE(launch("add", add_kernel, 1, 1, 0, second, y.data(), 2) == cudaSuccess);
    REQUIRE(cudaMemsetAsync(x.data(), 0, sizeof(int), first) == cudaSuccess);
    REQUIRE(cudaEventRecord(event, second) == cudaSuccess);
    REQUIRE(cudaStreamWaitEvent(first, event) == cudaSuccess);
    REQUIRE(cudaMemsetAsync(y.data(), 0, sizeof(int), first) == cudaSuccess);
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    REQUIRE(cudaStreamEndCapture(first, &graph) == cudaSuccess);
    REQUIRE(cudaGraphInstantiate(&executable, graph) == cudaSuccess);
    REQUIRE(cudaGraphLaunch(executable, first) == cudaSuccess);
    CHECK(x.values() == std::vector<int>{late ? 2 : 0});
    CHECK(y.values() == std::vector<int>{0});
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
  }
  set_late_branches(false);
  cudaEventDestroy(event);
  cudaStreamDestroy(first);
  cudaStreamDestroy(second);
}

TEST_CASE("emulator: a host function runs in its turn, and may not call CUDA") {
  struct Seen {
    const int* x;
    int value = 0;
    std::vector<cudaError_t> errors{};
  };
  const DeviceArray<int> x(std::vector<int>{7});
  int copied = 0;
  Seen seen{&copied};
  REQUIRE(cudaMemcpyAsync(&copied, x.data(), sizeof(int), cudaMemcpyDeviceToHost, nullptr) ==
          cudaSuccess);
  const auto look = [](void* argument) {
    auto& found = *static_cast<Seen*>(argument);
    found.value = *found.x;
    void* memory = nullptr;
    found.errors = {cudaMalloc(&memory, 4),         cudaMallocAsync(&memory, 4, nullptr),
                    cudaMallocHost(&memory, 4),     cudaMemsetAsync(memory, 0, 0, nullptr),
                    cudaStreamSynchronize(nullptr), cudaDeviceSynchronize()};
  };
  REQUIRE(cudaLaunchHostFunc(nullptr, look, &seen) == cudaSuccess);
  CHECK(seen.value == 7);
  CHECK(seen.errors == std::vector<cudaError_t>(6, cudaErrorNotPermitted));
  CHECK(cudaGetLastError() == cudaErrorNotPermitted);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
}
