// A small convolutional network on CIFAR-10: `cnn FOLDER` with its binary files, or `cnn` alone for
// a few images of the built-in data set. Writes cnn.safetensors, which PyTorch reads, too.
#include <gradus/gradus.h>

using namespace gradus;

namespace {

data::Dataset load(const std::string& folder, data::Split split) {
  if (!folder.empty()) return data::load_cifar10(folder, split);
  return data::synthetic_dataset(split == data::Split::train ? 4000 : 1000, split);
}

/// The share of a data set that the network labels right.
double accuracy(nn::Module& net, const data::Dataset& dataset) {
  const NoGrad no_grad;
  net.eval();
  std::int64_t right = 0;
  data::Loader loader(dataset, {.batch_size = 250, .shuffle = false});
  for (auto& [images, labels, samples] : loader.epoch(0))
    right += nn::count_top_k(net(images).value(), labels);
  return static_cast<double>(right) / static_cast<double>(dataset.size());
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string folder = argc > 1 ? argv[1] : "";

  Generator rng(0);
  nn::Sequential net;
  net.add<nn::Conv2d>({.in_channels = 3, .out_channels = 32, .kernel = 3, .padding = 1}, rng);
  net.add<nn::BatchNorm2d>({.channels = 32});
  net.add<nn::ReLU>();
  net.add<nn::MaxPool2d>({.kernel = 2});
  net.add<nn::Flatten>();
  net.add<nn::Linear>({16 * 16 * 32, 10}, rng);

  data::Loader train(load(folder, data::Split::train), {.batch_size = 128});
  optim::Adam adam(net.parameters(), {.lr = 1e-3});
  for (int epoch = 0; epoch < 4; ++epoch)
    for (auto& [images, labels, samples] : train.epoch(epoch)) {
      adam.zero_grad();
      nn::cross_entropy(net(images), labels).backward();
      adam.step();
    }

  nn::save(net, "cnn.safetensors");
  fmt::print("accuracy {:.3f}\n", accuracy(net, load(folder, data::Split::test)));
  return 0;
} catch (const Error& error) {
  fmt::print(stderr, "{}\n", error.what());
  return 1;
}
