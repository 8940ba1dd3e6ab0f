// Branches of recorded work: whatever a GPU runs first, the results are those of ordinary work. On
// the CPU, where nothing is recorded, they are ordinary work.
#include <doctest/doctest.h>

#include <functional>

#include <gradus/autograd/ops.h>
#include <gradus/nn/vicreg_loss.h>
#include <gradus/nn/vicreg_model.h>
#include <gradus/optim/sgd.h>
#include <gradus/tensor/beside.h>
#include <gradus/tensor/ops.h>
#include <gradus/tensor/repeated_work.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/reference.h"

using namespace gradus;
using namespace gradus::test;

namespace {

Tensor values(const char* name, const Shape& shape) {
  return on_device(named_uniform(name, shape).to(DType::float32));
}

/// Checks that replays of work() give the result of an ordinary call, with branches that run at
/// once and as late as they may.
void check_replays(const std::function<Tensor()>& work) {
  const Tensor expected = work();
  for (const bool late : {false, true}) {
    CAPTURE(late);
    const LateBranches order(late);
    Tensor result = empty(expected.shape(), options_of(expected));
    RepeatedWork repeated(test_device(), [&] { result.copy_from(work()); });
    for (int run = 0; run < 4; ++run) {
      result.fill(-1);
      repeated.run();
      CHECK(same_bits(result, expected));
    }
    CHECK(repeated.failure() == "");
    CHECK(repeated.replays() == (test_device() == Device::cuda));
  }
}

/// What a convolution of images [2, 6, 6, 8] with 3x3 weights gives, padded to their size.
Variable convolution(const Variable& x, const Variable& weight) {
  return conv2d(x, weight, {}, {.padding = 1});
}

struct Images {
  Tensor a = values("beside/a", {2, 6, 6, 8}), b = values("beside/b", {2, 6, 6, 8});
  Variable weight{values("beside/weight", {8, 3, 3, 8}), true};
  Variable other_weight{values("beside/other_weight", {8, 3, 3, 8}), true};

  void zero_grads() {
    weight.zero_grad();
    other_weight.zero_grad();
  }
};

}  // namespace

TEST_CASE("memory that a branch frees is not used again before it is joined") {
  const Tensor x = values("beside/x", {100});
  Tensor branch = empty({100}, device_options());
  check_replays([&] {
    {
      const Beside beside(true, {});
      branch.copy_from(add(mul(x, x), x));  // the product is freed here
    }
    const Tensor y = x * 3;
    join_beside();
    return add(branch, y);
  });
}

TEST_CASE("what a branch reads is held until it is joined") {
  const Tensor x = values("beside/x", {100});
  Tensor first = empty({100}, device_options()), second = empty({100}, device_options());
  check_replays([&] {
    Tensor read = x * 2;
    {
      const Beside beside(true, {read});
      first.copy_from(exp(read));
    }
    CHECK(read.unique() == !recording());  // so that nobody writes into it
    read = Tensor();
    Tensor y = x * 3;  // in other memory
    {
      const Beside beside(true, {y});  // joins the first
      const Beside within(true, {});   // does nothing
      second.copy_from(y);
    }
    const Tensor z = x * 4;  // in the memory of `read`
    join_beside();
    CHECK(y.unique());
    return add(add(first, second), z);
  });
}

TEST_CASE("the end of a recording joins what is still under way, and so does its failure" *
          gpu_only()) {
  const LateBranches order(true);
  const Tensor x = values("beside/x", {100});
  Tensor result = zeros({100}, device_options());
  std::weak_ptr<const Storage> held;
  bool fails = false;
  const auto work = [&] {
    const Tensor read = x * 2;
    held = read.storage();
    const Beside beside(true, {read});
    result.copy_from(read);
    if (fails && recording()) fail("test", "in a branch");
  };
  RepeatedWork repeated(Device::cuda, work);
  for (int run = 0; run < 4; ++run) {
    result.fill(0);
    repeated.run();
    CHECK(same_bits(result, x * 2));
    CHECK(held.expired());
  }
  CHECK(repeated.replays());
  fails = true;
  RepeatedWork failing(Device::cuda, work);
  for (int run = 0; run < 4; ++run) failing.run();
  CHECK(failing.failure() == "[test] in a branch");
  CHECK(held.expired());
  CHECK(same_bits(result, x * 2));
}

TEST_CASE("gradients are there when backward is over") {
  Images in;
  check_replays([&] {
    in.zero_grads();
    const auto loss = [&] {  // its graph alone keeps what lies between
      const Variable hidden = mul(convolution(Variable(in.a), in.weight), Variable(in.b));
      return sum(square(convolution(hidden, in.other_weight)));
    };
    loss().backward();
    return add(in.weight.grad(), in.other_weight.grad());
  });
  Variable matrix(values("beside/matrix", {5, 8}), true);
  check_replays([&] {
    matrix.zero_grad();
    sum(square(linear(Variable(in.a), matrix, {}))).backward();
    return matrix.grad();
  });
}

TEST_CASE("gradients are there when they are added to, and when they are said to be complete") {
  Images in;
  check_replays([&] {  // a weight that is used twice
    in.zero_grads();
    sum(convolution(convolution(Variable(in.a), in.weight), in.weight)).backward();
    return in.weight.grad();
  });
  check_replays([&] {  // two walks
    in.zero_grads();
    const Variable y = square(convolution(Variable(in.a), in.weight));
    sum(y).backward({}, true);
    sum(y).backward();
    return in.weight.grad();
  });
  check_replays([&] {
    in.zero_grads();
    Tensor seen;
    sum(convolution(relu(convolution(Variable(in.a), in.weight)), in.other_weight))
        .backward({}, false, [&](const std::shared_ptr<Node>& leaf) {
          seen = seen.defined() ? add(seen, exp(leaf->gradient)) : exp(leaf->gradient);
        });
    return seen;
  });
}

TEST_CASE("the gradient of a weight that is computed itself is there for what computed it") {
  Images in;
  check_replays([&] {
    in.zero_grads();
    sum(convolution(Variable(in.a), mul(in.weight, in.other_weight))).backward();
    return add(in.weight.grad(), in.other_weight.grad());
  });
  Variable matrix(values("beside/matrix", {5, 8}), true);
  check_replays([&] {
    matrix.zero_grad();
    sum(square(linear(Variable(in.a), exp(matrix), {}))).backward();
    return matrix.grad();
  });
}

TEST_CASE("a gradient that is read in a branch is not overwritten by its other reader") {
  Images in;
  const Variable scale(on_device(full({8}, 2))), shift(on_device(full({8}, 1)));
  check_replays([&] {
    in.zero_grads();
    const Variable x(in.b, true);
    const Variable normal = batch_norm(x, batch_norm_statistics(x.value()), scale, shift);
    // The sum's gradient goes to both; the norm's backward would write its own into it.
    sum(square(add(normal, convolution(Variable(in.a), in.weight)))).backward();
    return in.weight.grad();
  });
}

TEST_CASE("replayed training steps of a residual network are the ordinary ones") {
  const OneOrder fast;
  const Tensor images = values("beside/images", {8, 12, 12, 3});
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    for (const bool checkpoints : {false, true}) {
      CAPTURE(dtype);
      CAPTURE(checkpoints);
      // All parameters after four steps.
      const auto train = [&](bool recorded) {
        Generator generator(3);
        nn::VICRegModel model(
            {.encoder = {.layers = {1, 1, 1, 1}, .width = 8}, .projector_widths = {24, 24}},
            generator);
        model.to(test_device());
        model.encoder.checkpoint_activations(checkpoints);
        optim::Sgd sgd(model.parameters(), {});
        const auto compute = [&] {
          model.zero_grad();
          const Variable embeddings = cast(model(Variable(images.to(dtype))), DType::float32);
          nn::vicreg_loss(embeddings, 2).total.backward();
          sgd.apply();
        };
        RepeatedWork step(test_device(), compute);
        for (int i = 0; i < 4; ++i) {
          sgd.prepare(0.01);
          recorded ? step.run() : compute();
        }
        CHECK(step.failure() == "");
        CHECK(step.replays() == (recorded && test_device() == Device::cuda));
        std::vector<Tensor> parameters;
        for (const NamedParameter& parameter : model.parameters())
          parameters.push_back(parameter.variable->value().reshape({-1}));
        return concat(std::span<const Tensor>(parameters));
      };
      const Tensor expected = train(false);
      CHECK(same_bits(train(true), expected));
      const LateBranches order(true);
      CHECK(same_bits(train(true), expected));
    }
  }
}
