// The device that tests run on.
#pragma once

#include <doctest/doctest.h>

#include <gradus/tensor/tensor.h>

namespace gradus::test {

/// The device that tests put their tensors on: what the environment's GRADUS_TEST_DEVICE says (cpu
/// or cuda), else the CPU. Throws Error where that is neither, or cannot be used.
Device test_device();

/// Whether test_device() is the emulated GPU, where tests try fewer and smaller tensors.
bool on_emulator();

/// `emulated` on the emulated GPU, `otherwise` elsewhere.
template <class T>
T pick_size(T otherwise, T emulated) {
  return on_emulator() ? emulated : otherwise;
}

/// While one is alive, the emulated GPU runs each launch once instead of in three orders: for the
/// largest tests. Nothing changes elsewhere.
class OneOrder {
 public:
  OneOrder();
  ~OneOrder();
  OneOrder(const OneOrder&) = delete;
  OneOrder& operator=(const OneOrder&) = delete;

 private:
  bool before_ = false;
};

/// While one is alive, and `late`, the emulated GPU's graphs run branches (Beside) as late as they
/// may instead of in the host's order. Nothing changes elsewhere.
class LateBranches {
 public:
  explicit LateBranches(bool late);
  ~LateBranches();
  LateBranches(const LateBranches&) = delete;
  LateBranches& operator=(const LateBranches&) = delete;
};

/// A decorator of tests that are about the CPU or the host alone, so that they are left out on
/// another device: TEST_CASE("any number of threads" * cpu_only()).
doctest::skip cpu_only();
/// Of tests that need a GPU, or the emulated one. (What asks test_device() for that would start the
/// GPU before main does, when not all kernels are known yet.)
doctest::skip gpu_only();

/// A tensor's copy on test_device(), or the tensor itself if that is the CPU.
inline Tensor on_device(const Tensor& x) { return x.to(test_device()); }
/// Of a new tensor on test_device().
inline TensorOptions device_options(DType dtype = DType::float32) { return {dtype, test_device()}; }

/// Elements on test_device().
template <class T>
Tensor device_vector(const std::vector<T>& values, const Shape& shape) {
  return on_device(from_vector(values, shape));
}

}  // namespace gradus::test
