// A network that learns one batch, on the GPU if there is one, saves its weights and reads them
// again.
#include <gradus/gradus.h>

#include <cstdio>

int main() {
  using namespace gradus;
  const Device device = cuda_available() ? Device::cuda : Device::cpu;
  fmt::print("on the {}: {}\n", name(device),
             cuda_available() ? cuda_device_description() : cuda_unavailable_reason());
  Generator rng(1);
  nn::Sequential net;
  net.add<nn::Conv2d>({.in_channels = 1, .out_channels = 8, .kernel = 3, .padding = 1}, rng);
  net.add<nn::ReLU>();
  net.add<nn::Flatten>();
  net.add<nn::Linear>({28 * 28 * 8, 10}, rng);
  net.to(device);

  data::Dataset digits{full({10, 28, 28, 1}, 7, {DType::uint8}), arange(0, 10)};
  for (std::int64_t i = 0; i < 10; ++i) digits.images.slice(i, i + 1).fill(25.0 * double(i));
  data::Loader loader(digits, {.batch_size = 10, .device = device});
  optim::Adam adam(net.parameters(), {.lr = 1e-3});
  float first = 0, last = 0;
  for (int epoch = 0; epoch < 30; ++epoch)
    for (auto& [images, labels, samples] : loader.epoch(epoch)) {
      const Variable loss = nn::cross_entropy(net(images), labels.to(device));
      adam.zero_grad();
      loss.backward();
      adam.step();
      (epoch == 0 ? first : last) = loss.item<float>();
    }
  fmt::print("{} parameters, loss {} -> {}\n", net.parameter_count(), first, last);

  nn::save(net, "outside.safetensors");
  nn::load(net, "outside.safetensors");
  std::remove("outside.safetensors");
  return last < first / 2 ? 0 : 1;
}
