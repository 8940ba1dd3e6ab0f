#include <gradus/tensor/ops.h>
#include "check.h"

GRADUS_EXERCISE {
  const auto check = [](std::array<int, 2> a_shape, std::array<int, 2> b_shape,
                        const std::string& hint) {
    const auto a = numbers(static_cast<std::size_t>(a_shape[0] * a_shape[1]), 1);
    const auto b = numbers(static_cast<std::size_t>(b_shape[0] * b_shape[1]), 2);
    const auto sum = gradus::add(gradus::from_vector(a, {a_shape[0], a_shape[1]}),
                                 gradus::from_vector(b, {b_shape[0], b_shape[1]}));
    expect_near("y", broadcast_add(a, a_shape, b, b_shape), sum.to_vector<float>(), 1e-6, hint);
  };
  check(
      {3, 4}, {3, 4},
      "[3, 4] + [3, 4] is [3, 4]: 12 elements, (i, j) of a plus (i, j) of b; nothing to broadcast");
  check({3, 4}, {1, 4},
        "[3, 4] + [1, 4]: one row of b for all rows, so its stride along axis 0 is 0");
  check({3, 1}, {3, 4},
        "[3, 1] + [3, 4]: one column of a for all columns, so its stride along axis 1 is 0; along "
        "axis 0 it is 1, the length of a's own rows");
  check({1, 4}, {3, 1}, "[1, 4] + [3, 1]: both are stretched, the result is [3, 4]");
  check({1, 1}, {2, 2}, "[1, 1] + [2, 2]: one number for all, so both strides of a are 0");
}
