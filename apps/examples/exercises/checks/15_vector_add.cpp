#include "cuda_check.h"

GRADUS_EXERCISE {
  for (const int n : {256, 1000}) {
    const auto size = static_cast<std::size_t>(n);
    // a and b go on behind n, so that what a thread without a bound writes behind y is a number.
    const std::vector<float> a = numbers(1024, 1), b = numbers(1024, 2);
    std::vector<float> expected;
    for (std::size_t i = 0; i < size; ++i) expected.push_back(a[i] + b[i]);
    Tensor ga = on_gpu(a), y = fresh_on_gpu(size);
    const Tensor gb = on_gpu(b);
    const auto add_into = [&](Tensor& sum) {
      launch(vector_add, (n + 255) / 256, 256, 0, ga.data<float>(), gb.data<float>(),
             sum.data<float>(), n);
    };
    add_into(y);
    expect_near("y", y.to_vector<float>(), expected, 0,
                "each i must be some thread's, and y[i] = a[i] + b[i]");
    add_into(ga);
    std::vector<float> written = ga.to_vector<float>();
    written.resize(size);
    expect_near("where y is a itself, y", written, expected, 0,
                "it was added more than once: each i must be one thread's alone");
  }
}
