#include "tests/support/conv2d_reference.h"

#include "tests/support/compare.h"

namespace gradus::test {

Conv2dReference conv2d_reference(const Tensor& input, const Tensor& weight, const Tensor& bias,
                                 const Tensor& doutput, const Conv2dOptions& options) {
  const std::int64_t N = input.size(0), H = input.size(1), W = input.size(2), C = input.size(3);
  const std::int64_t O = weight.size(0), kH = weight.size(1), kW = weight.size(2);
  const std::int64_t P = doutput.size(1), Q = doutput.size(2);
  const std::int64_t channels = C / options.groups, outputs = O / options.groups;

  const auto x = doubles_of(input);
  const auto w = doubles_of(weight);
  const auto b = doubles_of(bias);
  const auto dy = doubles_of(doutput);
  std::vector<double> y(dy.size()), dx(x.size()), dw(w.size()), db(b.size());

  for (std::int64_t n = 0; n < N; ++n)
    for (std::int64_t p = 0; p < P; ++p)
      for (std::int64_t q = 0; q < Q; ++q)
        for (std::int64_t o = 0; o < O; ++o) {
          const std::int64_t out = ((n * P + p) * Q + q) * O + o;
          y[out] = b[o];
          db[o] += dy[out];
          for (std::int64_t r = 0; r < kH; ++r)
            for (std::int64_t s = 0; s < kW; ++s) {
              const std::int64_t h =
                  p * options.stride.height - options.padding.height + r * options.dilation.height;
              const std::int64_t v =
                  q * options.stride.width - options.padding.width + s * options.dilation.width;
              if (h < 0 || h >= H || v < 0 || v >= W) continue;
              for (std::int64_t c = 0; c < channels; ++c) {
                const std::int64_t in = ((n * H + h) * W + v) * C + o / outputs * channels + c;
                const std::int64_t tap = ((o * kH + r) * kW + s) * channels + c;
                y[out] += x[in] * w[tap];
                dx[in] += dy[out] * w[tap];
                dw[tap] += dy[out] * x[in];
              }
            }
        }

  return {from_vector(y, doutput.shape()), from_vector(dx, input.shape()),
          from_vector(dw, weight.shape()), from_vector(db, bias.shape())};
}

}  // namespace gradus::test
