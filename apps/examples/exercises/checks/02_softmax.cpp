#include <gradus/tensor/ops.h>
#include "check.h"

GRADUS_EXERCISE {
  const auto check = [](const std::vector<float>& x, const std::string& hint) {
    const auto y =
        gradus::softmax(gradus::from_vector(x, {1, static_cast<std::int64_t>(x.size())}));
    expect_near("y", softmax(x), y.to_vector<float>(), 1e-6, hint);
  };
  check({1, 2, 3}, "exp of each element, divided by the sum of all of them");
  check({1000, 1001}, "large elements: subtract the largest before exp");
  check({-1000, -1001}, "very small elements: subtract the largest, even where it is negative");
  check({5}, "a single element has probability 1");
}
