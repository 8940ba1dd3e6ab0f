// Follows one image through a ResNet-18 and VICReg's loss, and its gradient back: the shape, mean
// and standard deviation of what each layer gives, with a small picture of it. `one_image FOLDER`
// takes CIFAR-10's first image; `one_image` alone one of the built-in data set.
#include <unistd.h>

#include <gradus/gradus.h>

using namespace gradus;

namespace {

/// A pixel's red, green and blue, from 0 to 1.
using Pixel = std::array<float, 3>;

/// Prints rows of pixels: two rows a line as coloured half blocks on a terminal, else as
/// characters, the brighter the denser.
void print_picture(const std::vector<Pixel>& pixels, std::size_t width) {
  const bool colours = isatty(STDOUT_FILENO) != 0;
  const auto level = [](float value) { return static_cast<int>(value * 255); };
  for (std::size_t i = 0; i + width <= pixels.size(); i += 2 * width) {
    fmt::print("    ");
    for (std::size_t x = 0; x < width; ++x) {
      const Pixel above = pixels[i + x];
      const Pixel below = i + x + width < pixels.size() ? pixels[i + x + width] : above;
      if (colours) {
        fmt::print("\x1b[38;2;{};{};{}m\x1b[48;2;{};{};{}m\u2580", level(above[0]), level(above[1]),
                   level(above[2]), level(below[0]), level(below[1]), level(below[2]));
      } else {
        const float mean = (above[0] + above[1] + above[2] + below[0] + below[1] + below[2]) / 6;
        fmt::print("{}", " .:-=+*#%@"[static_cast<int>(mean * 9.99f)]);
      }
    }
    fmt::print("{}\n", colours ? "\x1b[0m" : "");
  }
}

/// Prints a value of one image [H, W, C] or [C]; of an activation the picture is the mean over
/// channels, of a gradient that of its size.
void print_value(const std::string& name, const Tensor& value, bool gradient) {
  const std::vector<float> x = value.to_vector<float>();
  double sum = 0, squares = 0;
  for (const float element : x) {
    sum += element;
    squares += double{element} * element;
  }
  const double mean = sum / static_cast<double>(x.size());
  fmt::print("{:24} {:16} mean {:10.3g}   std {:9.3g}\n", name, to_string(value.shape()), mean,
             std::sqrt(std::max(0.0, squares / static_cast<double>(x.size()) - mean * mean)));
  if (value.rank() != 3) return;
  const auto channels = static_cast<std::size_t>(value.size(2));
  std::vector<Pixel> pixels;
  float low = std::numeric_limits<float>::max(), high = -low;
  for (std::size_t i = 0; i < x.size(); i += channels) {
    Pixel pixel{};
    for (std::size_t c = 0; c < channels; ++c) {
      const float element = gradient ? std::abs(x[i + c]) : x[i + c];
      if (channels == 3)
        pixel[c] = element;
      else
        for (float& p : pixel) p += element / static_cast<float>(channels);
    }
    low = std::min({low, pixel[0], pixel[1], pixel[2]});
    high = std::max({high, pixel[0], pixel[1], pixel[2]});
    pixels.push_back(pixel);
  }
  if (high <= low) return fmt::print("    the same everywhere\n");
  for (Pixel& pixel : pixels)
    for (float& p : pixel) p = (p - low) / (high - low);
  print_picture(pixels, static_cast<std::size_t>(value.size(1)));
}

/// The first image of a batch [N, ...].
Tensor first_of(const Tensor& batch) {
  const Tensor first = batch.slice(0, 1);
  return batch.rank() == 4 ? first.reshape({batch.size(1), batch.size(2), batch.size(3)})
                           : first.reshape({-1});
}

/// x itself. Prints it now, and its gradient when backward comes by.
Variable watch(const std::string& name, const Variable& x) {
  print_value(name, first_of(x.value()), false);
  return make_variable("watch", x.value(), {&x}, [name](const Tensor& dy) -> std::vector<Tensor> {
    print_value(name, first_of(dy), true);
    return {dy};
  });
}

}  // namespace

int main(int argc, char** argv) try {
  Generator rng(0);
  nn::VICRegModel model({.encoder = nn::resnet18(), .projector_widths = {256, 256}}, rng);
  const std::int64_t count = 8;  // batch norm and the loss need others beside the one image
  const data::Dataset dataset = argc > 1 ? data::load_cifar10(argv[1], data::Split::train)
                                         : data::synthetic_dataset(count, data::Split::train);
  data::Loader loader(dataset, {.batch_size = count,
                                .views = 2,
                                .shuffle = false,
                                .augment = {.random_crop = true, .flip_probability = 0.5f}});
  loader.start_epoch(0);
  const Tensor views = loader.next()->images;

  fmt::print("--- forward\n");
  const nn::NoFusion plain;  // each layer by itself
  nn::ResNet& encoder = model.encoder;
  Variable x = watch("image (a view of it)", Variable(views, true));
  x = watch("conv1", encoder.conv1(x));
  x = watch("bn1", encoder.bn1(x));
  x = watch("relu", relu(x));
  int number = 0;
  for (nn::Sequential* layer :
       {&encoder.layer1, &encoder.layer2, &encoder.layer3, &encoder.layer4}) {
    ++number;
    for (std::size_t block = 0; block < layer->size(); ++block)
      x = watch(fmt::format("layer{}.{}", number, block), (*layer)[block](x));
  }
  x = watch("global average: features", global_avg_pool2d(x));
  x = watch("projector: embedding", model.projector(x));

  const nn::VICRegOptions weights;
  const nn::VICRegLoss loss = nn::vicreg_loss(x, 2, weights);
  fmt::print("--- the loss of {} images\n", count);
  const auto term = [](const char* name, double weight, const Variable& value) {
    fmt::print("{:12} {:4} x {:.6f}\n", name, weight, value.item<float>());
  };
  term("invariance", weights.invariance, loss.invariance);
  term("variance", weights.variance, loss.variance);
  term("covariance", weights.covariance, loss.covariance);
  fmt::print("{:12} {:13.6f}\n--- backward: the gradient of the loss with respect to each\n",
             "total", loss.total.item<float>());
  loss.total.backward();
  return 0;
} catch (const Error& error) {
  fmt::print(stderr, "{}\n", error.what());
  return 1;
}
