// Products in TF32. A GPU's tensor cores take 10 of the 23 bits of an input and drop the others
// (truncation, an error of at most 2^-10 and always towards zero), unless they are rounded first
// (at most 2^-11). The limits here hold for both. cuBLAS rounds, on the emulated GPU and on an
// H200: the errors are 2.6e-4 and, by Winograd, 1.5e-3. Implicit GEMM rounds all inputs by warps,
// and by warpgroups drops bits of the activations.
#include <doctest/doctest.h>

#include <gradus/tensor/ops.h>
#include "tests/cuda/conv_cases.h"
#include "tests/cuda/tf32.h"
#include "tests/support/compare.h"
#include "tests/support/numbers.h"

namespace gradus::test {
namespace {

/// compute() in TF32 has an RMS error below `limit` against float64; and, where the GPU has TF32,
/// one above that of float32, so that it was used.
template <class Compute>
void check_error(const char* what, double limit, const Tensor& right, const Compute& compute) {
  const double plain = rms_error(compute(), right);
  const AllowTf32 allow;
  const double error = rms_error(compute(), right);
  MESSAGE(std::string(what) << ": RMS error " << plain << " in float32, " << error << " in TF32");
  CHECK(plain < 4e-6);
  CHECK(error < limit);
  if (has_tensor_cores()) CHECK(error > 5e-5);
}

TEST_CASE("TF32: products and convolutions have the error of rounded or truncated inputs") {
  const Tensor a = random_tensor<float>({96, 256}, 1).to(Device::cuda);
  const Tensor b = random_tensor<float>({256, 64}, 2).to(Device::cuda);
  check_error("matmul", 1.5e-3, matmul(exact(a), exact(b)), [&] { return matmul(a, b); });

  struct Case {
    const char* name;
    std::int64_t stride, channels;
    double limit;
  };
  // Winograd's F(4x4, 3x3) has transforms that enlarge roundings.
  for (const auto& [name, stride, channels, limit] :
       {Case{"convolution by implicit GEMM", 1, 64, 5e-4},
        Case{"convolution by implicit GEMM, stride 2", 2, 64, 5e-4},
        Case{"convolution by columns", 2, 48, 1.5e-3},
        Case{"convolution by Winograd", 1, 48, 8e-3}}) {
    const Conv2dOptions options{.stride = stride, .padding = 1};
    const Tensor x = random_tensor<float>({2, 16, 16, channels}, 3).to(Device::cuda);
    const Tensor w = random_tensor<float>({64, 3, 3, channels}, 4).to(Device::cuda);
    const Tensor right = conv2d(exact(x), exact(w), {}, options);
    check_error(name, limit, right, [&] { return conv2d(x, w, {}, options); });
    const Tensor dy = random_tensor<float>(right.shape(), 5).to(Device::cuda);
    check_error(name, limit, conv2d_backward_input(exact(dy), exact(w), x.shape(), options),
                [&] { return conv2d_backward_input(dy, w, x.shape(), options); });
    check_error(name, limit, conv2d_backward_weight(exact(dy), exact(x), w.shape(), options),
                [&] { return conv2d_backward_weight(dy, x, w.shape(), options); });
  }
}

}  // namespace
}  // namespace gradus::test
