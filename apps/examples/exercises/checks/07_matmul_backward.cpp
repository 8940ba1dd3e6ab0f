#include <gradus/autograd/ops.h>
#include "check.h"

GRADUS_EXERCISE {
  using namespace gradus;
  const int m = 2, k = 3, n = 4;
  const std::vector<float> a = numbers(m * k), b = numbers(k * n, 2), dc = numbers(m * n, 3);
  const Variable va(from_vector(a, {m, k}), true), vb(from_vector(b, {k, n}), true);
  matmul(va, vb).backward(from_vector(dc, {m, n}));
  const MatmulGradients got = matmul_backward(dc, a, b, m, k, n);
  expect_near("dA", got.da, va.grad().to_vector<float>(), 1e-5,
              "dA is [m, k]: row i of dC times row p of B");
  expect_near("dB", got.db, vb.grad().to_vector<float>(), 1e-5,
              "dB is [k, n]: column p of A times column j of dC");
}
