// Devices: what is said where there is no GPU, copies, reading back, and repeated work.
#include <gradus/tensor/device.h>

#include <doctest/doctest.h>

#include <gradus/autograd/ops.h>
#include <gradus/tensor/repeated_work.h>
#include "tests/support/command.h"
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"

using namespace gradus;
using namespace gradus::test;

TEST_CASE("where no GPU can be used, one line says why") {
  if (cuda_available()) return;
  const std::string& reason = cuda_unavailable_reason();
  CHECK(reason.find('\n') == std::string::npos);
  const TensorOptions options{DType::float32, Device::cuda};
  CHECK_ERROR(zeros({2}, options), reason.c_str());
  CHECK_ERROR(empty({2}, options), reason.c_str());
  CHECK_ERROR(ones({2}).to(Device::cuda), reason.c_str());
  CHECK_ERROR(cuda_device_description(), reason.c_str());
  synchronize(Device::cpu);
}

TEST_CASE("the tests' device must be one that there is" * cpu_only()) {
  const auto run = [](const std::string& device) {
    return run_command("/proc/self/exe", {"--count"},
                       {.environment = {"GRADUS_TEST_DEVICE=" + device}});
  };
  CHECK(run("cpu").exit_code == 0);
  CHECK(run("gpu").exit_code == 1);
  CHECK(run("gpu").output == "[tests] GRADUS_TEST_DEVICE must be cpu or cuda; got gpu\n");
  CHECK((run("cuda").exit_code == 0) == cuda_available());
  if (!cuda_available()) CHECK(contains(run("cuda").output, cuda_unavailable_reason()));
}

TEST_CASE_TEMPLATE("tensors of every type go to the device and back", T, float, double, BFloat16,
                   std::uint8_t, std::int64_t) {
  for (const std::int64_t n : {0, 1, 7, 10'001}) {
    CAPTURE(n);
    const Tensor host = arange(0, n).to(dtype_of<T>);
    const Tensor there = host.to(test_device());
    CHECK(there.device() == test_device());
    CHECK(there.dtype() == host.dtype());
    CHECK(same_bits(there.to(Device::cpu), host));
    CHECK(same_bits(there.clone(), host));
    CHECK(there.to(test_device()).shares_storage(there));
    Tensor back = zeros({n}, {dtype_of<T>});
    back.copy_from(there);
    CHECK(same_bits(back, host));
  }
}

TEST_CASE("copy_bytes copies pieces, at any offset, in all four directions") {
  const auto bytes = [](const Tensor& x) { return static_cast<const std::byte*>(x.raw()); };
  for (const Device from : {Device::cpu, test_device()}) {
    for (const Device to : {Device::cpu, test_device()}) {
      const Tensor source = on_device(arange(0, 100, {DType::uint8})).to(from);
      const Tensor target = zeros({10}, {DType::uint8, to});
      copy_bytes(const_cast<std::byte*>(bytes(target)) + 3, to, bytes(source) + 41, from, 5);
      copy_bytes(nullptr, to, nullptr, from, 0);
      CHECK(target.to_vector<std::uint8_t>() ==
            std::vector<std::uint8_t>{0, 0, 0, 41, 42, 43, 44, 45, 0, 0});
    }
  }
}

TEST_CASE("views on the device are copied as the elements that they show") {
  const Tensor x = on_device(arange(0, 12).reshape({4, 3}));
  CHECK(x.slice(1, 3).to(Device::cpu).to_vector<std::int64_t>() ==
        std::vector<std::int64_t>{3, 4, 5, 6, 7, 8});
  CHECK(x.slice(3, 4).reshape({3}).slice(1, 2).item<std::int64_t>() == 10);
}

TEST_CASE("a readback holds the values of its moment") {
  Tensor x = random_tensor<float>({1000}, 1);
  const Tensor before = x.to(Device::cpu).clone();
  const Readback readback(x), empty_one(zeros({0, 3}, device_options()));
  x.fill(7);
  CHECK(readback.defined());
  CHECK(readback.get().device() == Device::cpu);
  CHECK(same_bits(readback.get(), before));
  CHECK(empty_one.get().shape() == Shape{0, 3});
  CHECK_FALSE(Readback().defined());
  CHECK_ERROR(Readback().get(), "[readback] nothing is being read back");
  CHECK_ERROR(Readback(Tensor()), "[readback] the tensor is undefined");
}

TEST_CASE("repeated work: a replay does what a call does") {
  constexpr int runs = 6;
  Tensor input = zeros({1003}, device_options());
  Tensor total = zeros({1003}, device_options()), expected = total.clone();
  int calls = 0;
  RepeatedWork work(test_device(), [&] {
    ++calls;
    add_scaled(total, exp(input) * 2);
  });
  for (int i = 0; i < runs; ++i) {
    input.copy_from(random_tensor<float>({1003}, static_cast<unsigned>(i)));
    work.run();
    add_scaled(expected, exp(input) * 2);
    CAPTURE(i);
    CHECK(same_bits(total, expected));
  }
  CHECK(work.failure() == "");
  CHECK(work.replays() == (test_device() == Device::cuda));
  CHECK(calls == (test_device() == Device::cuda ? 3 : runs));  // two ordinary runs, one recorded
}

TEST_CASE("repeated work with gradients") {
  const Variable w(random_tensor<float>({5, 3}, 1), true);
  Tensor x = zeros({4, 3}, device_options());
  Variable loss;
  const auto step = [&](Variable parameter) {
    parameter.zero_grad();
    loss = sum(square(linear(Variable(x), parameter)));
    loss.backward();
  };
  RepeatedWork work(test_device(), [&] { step(w); });
  for (unsigned i = 0; i < 5; ++i) {
    x.copy_from(random_tensor<float>({4, 3}, 10 + i));
    work.run();
    const Variable other(w.value().clone(), true);
    const Tensor gradient = w.grad(), value = loss.value();
    step(other);
    CAPTURE(i);
    CHECK(same_bits(gradient, other.grad()));
    CHECK(same_bits(value, loss.value()));
    loss = Variable(value);  // where replays write it
  }
  CHECK(work.replays() == (test_device() == Device::cuda));
}

TEST_CASE("work that draws is called every time, as a replay would draw the same") {
  Generator generator(1);
  Tensor drawn;
  RepeatedWork work(test_device(),
                    [&] { drawn = dropout_mask({1000}, 0.5, generator, device_options()); });
  std::vector<Tensor> before;
  for (int i = 0; i < 5; ++i) {
    work.run();
    for (const Tensor& mask : before) CHECK_FALSE(same_bits(drawn, mask));
    before.push_back(drawn.clone());
    CHECK(generator.position() == 500 * static_cast<std::uint64_t>(i + 1));
  }
  CHECK_FALSE(work.replays());
  CHECK((work.failure() != "") == (test_device() == Device::cuda));
}

TEST_CASE("work that reads a result is called every time") {
  Tensor x = zeros({4}, device_options());
  double seen = 0;
  const auto reads_at_once = [&] { seen = sum(x).item<float>(); };
  const auto reads_later = [&] { seen = Readback(sum(x)).get().item<float>(); };
  for (const std::function<void()>& function :
       {std::function<void()>(reads_at_once), {reads_later}}) {
    RepeatedWork work(test_device(), function);
    for (int i = 1; i <= 5; ++i) {
      x.fill(i);
      work.run();
      CHECK(seen == 4 * i);
    }
    CHECK_FALSE(work.replays());
    CHECK((work.failure() != "") == (test_device() == Device::cuda));
    CHECK(work.failure().find('\n') == std::string::npos);
  }
}
