// The CUDA runtime as the back end uses it: errors, the stream, cuBLAS, scratch, profiling; with
// tensor/backend/runtime.h, what others use of it. No fmt here: nvcc reads this header.
#pragma once

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tensor/backend/runtime.h"

namespace gradus::cuda {

// --- errors -----------------------------------------------------------------------------------
// A kernel runs after its launch returns, so a fault in it is reported by some later call. The
// errors say so; with GRADUS_CUDA_SYNC=1 in the environment, each launch is waited for, nothing is
// recorded (RepeatedWork), and the fault names its kernel.

bool waits_for_launches();

/// Throws Error with the expression, CUDA's text, file and line unless the status is success.
void check_status(cudaError_t status, const char* expression, const char* file, int line);
void check_status(cublasStatus_t status, const char* expression, const char* file, int line);
#define GRADUS_CUDA_CHECK(expression) \
  ::gradus::cuda::check_status((expression), #expression, __FILE__, __LINE__)
/// Throws Error with the kernel's name and the launch's shape unless the status is success.
void check_launch(cudaError_t status, const char* kernel, dim3 grid, dim3 block,
                  std::size_t shared_bytes);
/// With GRADUS_CUDA_SYNC=1: waits for the work that was just started under `name`; throws Error if
/// it failed.
void check_finished(const char* name);

// --- handles of the first GPU, made on first use; throw Error if it cannot be used --------------
/// The streams: all work of this back end is ordered on that of `main`, but for branches of a graph
/// that is being recorded (begin_beside; of lower priority, so that their blocks fill what the
/// others leave idle) and for what is exchanged with other processes (begin_exchanges).
enum class Lane : std::uint8_t { main, side, exchange };
cudaStream_t stream_of(Lane lane);
/// Lets this thread's launches go to a lane; where they go.
void launch_on(Lane lane);
Lane launch_lane();
/// Its stream.
cudaStream_t stream();
/// What is launched on `later` from now on waits for what was launched on `earlier`.
cudaError_t order(Lane earlier, Lane later);
/// The cuBLAS handle of that stream (that of exchanges has none), with a workspace of its own
/// (so that it can be captured, and two streams' products run at the same time).
cublasHandle_t blas();
/// The second-level cache's size in bytes: what chunked algorithms cut their scratch to.
std::size_t l2_bytes();
int multiprocessor_count();
/// Cuts scratch and work for a GPU that has such a cache and so many, whose step is to be modelled;
/// 0: as the device has.
void assume_l2_bytes(std::size_t bytes);
void assume_multiprocessors(int count);
bool tf32_allowed();

/// Temporary memory of a launcher: `Scratch<float> tiles(count); kernel<<<...>>>(tiles.data())`.
template <class T>
class Scratch {
 public:
  explicit Scratch(std::int64_t count)
      : bytes_(static_cast<std::size_t>(count) * sizeof(T)),
        data_(static_cast<T*>(allocate(bytes_))) {}
  ~Scratch() { deallocate(data_, bytes_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* data() const { return data_; }

 private:
  std::size_t bytes_;
  T* data_;
};

// --- profiling: what each launch must do, and how long it took ----------------------------------
/// Which unit computes: it sets the peak rate.
enum class Unit : std::uint8_t { fp32, fp64, tf32, bf16 };

/// What a launch must do: bytes to and from memory at least, bytes between the second-level cache
/// and the multiprocessors beside them (scratch that was sized to stay there, what blocks read
/// again), and floating-point operations (a multiply-add is two).
struct Work {
  double bytes = 0;
  double cached_bytes = 0;
  double flops = 0;
  Unit unit = Unit::fp32;
};

/// One launch, as a Profile recorded it; seconds is 0 where launches were skipped.
struct ProfileEntry {
  std::string name;
  Work work;
  double seconds = 0;
  Lane lane = Lane::main;
};

/// While one is alive, launches and library calls are recorded. With `execute`, each is timed by
/// events and waited for; without, none is run, and results are undefined: a dry run that counts.
/// Before each timed call the GPU is kept busy until the host has enqueued it with both events, so
/// that no time of the host is counted.
class Profile {
 public:
  explicit Profile(bool execute);
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;
  bool executes() const { return execute_; }
  const std::vector<ProfileEntry>& entries() const { return entries_; }

 private:
  friend class LaunchRecord;
  bool execute_;
  std::vector<ProfileEntry> entries_;
};

/// Put around each launch or library call: hands it to the Profile that is alive, if any.
class LaunchRecord {
 public:
  LaunchRecord(const char* name, const Work& work);
  ~LaunchRecord();
  LaunchRecord(const LaunchRecord&) = delete;
  LaunchRecord& operator=(const LaunchRecord&) = delete;
  /// Whether the launch must be left out.
  bool skipped() const { return skipped_; }

 private:
  bool skipped_ = false;
  cudaEvent_t begin_ = nullptr;
};

}  // namespace gradus::cuda
