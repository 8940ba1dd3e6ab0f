// What this machine can do at best, and how near the operations of a training step come to it:
// ops --help. An operation cannot take less time than its arithmetic at the peak rate, nor than
// moving each of its inputs and outputs once at the peak bandwidth; the larger of the two is the
// time that 100 % stand for. Tensors that fit a cache can beat that bandwidth, and Winograd's
// convolution the operations of the definition, which are what is counted.
#include <fmt/format.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include <gradus/nn/vicreg_loss.h>
#include <gradus/optim/adam.h>
#include <gradus/tensor/ops_fused.h>
#include "bench/peaks.h"
#include "common/command_line.h"
#include "common/program.h"

namespace {

using namespace gradus;
using Json = nlohmann::ordered_json;

struct Options {
  std::int64_t batch = 64;
  int repeats = 10, threads = 0;
  bool bf16 = false, json = false;
};

struct Peaks {
  double fp32_core, fp32;  // operations a second: one thread, all threads
  double bf16_core, bf16;  // 0 where products of bfloat16 are those of float
  bench::Bandwidth memory;

  double bandwidth() const { return std::max({memory.read, memory.copy, memory.triad}); }
};

/// An operation, with the arithmetic and the bytes that cannot be avoided.
struct Case {
  std::string name;
  double operations;
  std::size_t bytes;
  DType unit;  ///< of the products: which peak counts
  std::function<void()> function;
};

struct Result {
  std::string name;
  double seconds, operations, bytes;
  double least;  ///< seconds at the peak rates
  bool by_memory;
};

Peaks measure_peaks(const Options& options) {
  const int threads = omp_get_max_threads();
  return {.fp32_core = bench::fp32_peak(1, options.repeats),
          .fp32 = bench::fp32_peak(threads, options.repeats),
          .bf16_core = bench::bf16_peak(1, options.repeats),
          .bf16 = bench::bf16_peak(threads, options.repeats),
          .memory = bench::memory_bandwidth(256, options.repeats)};
}

std::size_t bytes_of(std::initializer_list<Tensor> tensors) {
  std::size_t bytes = 0;
  for (const Tensor& tensor : tensors) bytes += tensor.bytes();
  return bytes;
}

/// The operations of a step at their sizes: B images in two views, so N = 2 B images.
class Cases {
 public:
  explicit Cases(const Options& options)
      : batch_(options.batch),
        images_(2 * options.batch),
        dtype_(options.bf16 ? DType::bfloat16 : DType::float32) {
    normalisation();
    elementwise();
    convolution(32, 64);
    convolution(4, 512);
    projector(512, 1024);
    projector(1024, 1024);
    losses();
    adam();
  }

  const std::vector<Case>& all() const { return cases_; }

 private:
  Tensor random(const Shape& shape, DType dtype = DType::float32) {
    return normal(shape, 0, 1, generator_).to(dtype);
  }
  void add_case(const std::string& name, double operations, std::size_t bytes,
                std::function<void()> function) {
    cases_.push_back({name, operations, bytes, dtype_, std::move(function)});
  }

  // The activations of the first stage [N, 32, 32, 64]: the largest there are.
  void normalisation() {
    const Shape shape{images_, 32, 32, 64};
    const Tensor x = random(shape, dtype_), residual = random(shape, dtype_),
                 dy = random(shape, dtype_);
    const Tensor gamma = random({64}), beta = random({64});
    const BatchStatistics statistics = batch_norm_statistics(x);
    const Tensor y = batch_norm_relu(x, statistics, gamma, beta);
    add_case("batch norm: statistics", 0, x.bytes(), [=] { batch_norm_statistics(x); });
    add_case("batch norm + relu", 0, bytes_of({x, y}),
             [=] { batch_norm_relu(x, statistics, gamma, beta); });
    add_case("batch norm + residual + relu", 0, bytes_of({x, residual, y}),
             [=] { batch_norm_relu(x, statistics, gamma, beta, {}, residual); });
    add_case("batch norm + relu, backward", 0, bytes_of({dy, x, x}),
             [=] { batch_norm_relu_backward(dy, x, {}, statistics, gamma, beta); });
    add_case("batch norm + residual + relu, backward", 0, bytes_of({dy, x, y, x, residual}),
             [=] { batch_norm_relu_backward(dy, x, y, statistics, gamma, beta); });
  }

  void elementwise() {
    const Shape shape{images_, 32, 32, 64};
    const Tensor x = random(shape, dtype_), y = random(shape, dtype_);
    const DType other = dtype_ == DType::float32 ? DType::bfloat16 : DType::float32;
    const Tensor last = random({images_, 4, 4, 512}, dtype_);
    add_case("relu", 0, bytes_of({x, x}), [=] { relu(x); });
    add_case("residual add", 0, bytes_of({x, y, x}), [=] { add(x, y); });
    add_case(fmt::format("cast to {}", name(other)), 0, x.bytes() + x.to(other).bytes(),
             [=] { x.to(other); });
    add_case("global average pooling [N, 4, 4, 512]", 0, last.bytes(),
             [=] { global_avg_pool2d(last); });
  }

  void convolution(std::int64_t size, std::int64_t channels) {
    const Tensor x = random({images_, size, size, channels}, dtype_);
    const Tensor w = random({channels, 3, 3, channels});
    const double operations =
        2 * static_cast<double>(x.numel()) * 9 * static_cast<double>(channels);
    const std::size_t bytes = bytes_of({x, w, x});
    const std::string name = fmt::format("conv 3x3 [N, {0}, {0}, {1}]", size, channels);
    add_case(name, operations, bytes, [=] { conv2d(x, w, {}, {.padding = 1}); });
    add_case(name + ", dinput", operations, bytes,
             [=] { conv2d_backward_input(x, w, x.shape(), {.padding = 1}); });
    add_case(name + ", dweight", operations, bytes,
             [=] { conv2d_backward_weight(x, x, w.shape(), {.padding = 1}); });
  }

  void product(const std::string& name, const Tensor& a, const Tensor& b,
               const MatmulOptions& options) {
    const Tensor c = matmul(a, b, options);
    const auto depth = static_cast<double>(options.transpose_a ? a.size(0) : a.size(1));
    add_case(name, 2 * static_cast<double>(c.numel()) * depth, bytes_of({a, b, c}),
             [=] { matmul(a, b, options); });
  }

  void projector(std::int64_t in, std::int64_t out) {
    const Tensor x = random({images_, in}, dtype_), w = random({out, in}, dtype_),
                 dy = random({images_, out}, dtype_);
    const std::string name = fmt::format("linear {} -> {}", in, out);
    product(name, x, w, {.transpose_b = true});
    product(name + ", dinput", dy, w, {});
    product(name + ", dweight", dy, x, {.transpose_a = true, .output_dtype = DType::float32});
  }

  // In float32 whatever the activations are.
  void losses() {
    const Tensor z = random({batch_, 1024}), covariance = random({1024, 1024});
    const auto one_product = 2 * static_cast<double>(batch_) * 1024 * 1024;
    const std::size_t first = cases_.size();
    product("covariance z^T z, z [B, 1024]", z, z, {.transpose_a = true});
    add_case("off-diagonal square sum [1024, 1024]", 0, covariance.bytes(),
             [=] { off_diagonal_square_sum(covariance); });
    const Variable views(random({2 * batch_, 1024}), true);
    // A view needs two products: its covariance, and the gradient of it times the embeddings.
    add_case("VICReg loss and its gradients", 4 * one_product,
             bytes_of({z, z, z, z, covariance, covariance}),
             [=] { nn::vicreg_loss(views, 2).total.backward(); });
    const Tensor logits = random({256, 10}), labels = zeros({256}, {DType::int64});
    add_case("softmax cross-entropy [256, 10]", 0, bytes_of({logits, labels}),
             [=] { softmax_cross_entropy(logits, labels); });
    for (std::size_t i = first; i < cases_.size(); ++i) cases_[i].unit = DType::float32;
  }

  // As many parameters as ResNet-18 and the projector have.
  void adam() {
    const Shape shape{14849088};
    const auto parameter = std::make_shared<Variable>(random(shape), true);
    parameter->set_grad(random(shape));
    const auto adam = std::make_shared<optim::Adam>(
        optim::one_group({{"parameter", parameter.get()}}, 1e-6), optim::Adam::Options{});
    add_case("Adam, 14.9 M parameters", 0, 7 * parameter->value().bytes(),
             [parameter, adam] { adam->step(1e-6); });
  }

  std::int64_t batch_, images_;
  DType dtype_;
  Generator generator_{1};
  std::vector<Case> cases_;
};

Result measure(const Case& c, const Peaks& peaks, int repeats) {
  const bool bf16 = c.unit == DType::bfloat16 && peaks.bf16 > 0;
  const auto bytes = static_cast<double>(c.bytes);
  const double arithmetic = c.operations / (bf16 ? peaks.bf16 : peaks.fp32);
  const double memory = bytes / peaks.bandwidth();
  return {.name = c.name,
          .seconds = bench::least_seconds(repeats, c.function),
          .operations = c.operations,
          .bytes = bytes,
          .least = std::max(arithmetic, memory),
          .by_memory = memory > arithmetic};
}

void print(const Peaks& p) {
  fmt::print("{} threads\n{:40} {:>9.1f} GFLOP/s a core {:>9.1f} all\n", omp_get_max_threads(),
             "fp32 multiply-add", p.fp32_core * 1e-9, p.fp32 * 1e-9);
  if (p.bf16 > 0)
    fmt::print("{:40} {:>9.1f} GFLOP/s a core {:>9.1f} all\n",
               bench::has_tiles() ? "bf16 products of tiles" : "bf16 dot products",
               p.bf16_core * 1e-9, p.bf16 * 1e-9);
  fmt::print("{:40} read {:.1f}, copy {:.1f}, triad {:.1f} GB/s\n\n", "memory",
             p.memory.read * 1e-9, p.memory.copy * 1e-9, p.memory.triad * 1e-9);
  fmt::print("{:40} {:>9} {:>9} {:>8} {:>7}  {}\n", "operation", "ms", "GFLOP/s", "GB/s", "of peak",
             "bound by");
}

void print(const Result& r) {
  fmt::print("{:40} {:>9.3f} {:>9} {:>8.1f} {:>5.0f} %  {}\n", r.name, r.seconds * 1e3,
             r.operations > 0 ? fmt::format("{:.1f}", r.operations / r.seconds * 1e-9) : "-",
             r.bytes / r.seconds * 1e-9, 100 * r.least / r.seconds,
             r.by_memory ? "memory" : "arithmetic");
}

Json to_json(const Peaks& p) {
  return {{"fp32_core", p.fp32_core}, {"fp32", p.fp32},        {"bf16_core", p.bf16_core},
          {"bf16", p.bf16},           {"read", p.memory.read}, {"copy", p.memory.copy},
          {"triad", p.memory.triad}};
}

Json to_json(const Result& r) {
  return {{"operation", r.name},
          {"seconds", r.seconds},
          {"operations", r.operations},
          {"bytes", r.bytes},
          {"of_peak", r.least / r.seconds}};
}

void run(const Options& options) {
  if (options.threads > 0) omp_set_num_threads(options.threads);
  const Peaks peaks = measure_peaks(options);
  if (!options.json) print(peaks);
  const Cases cases(options);
  Json records = Json::array();
  for (const Case& c : cases.all()) {
    const Result result = measure(c, peaks, options.repeats);
    if (options.json)
      records.push_back(to_json(result));
    else
      print(result);
  }
  if (options.json)
    fmt::print("{}\n", Json{{"peaks", to_json(peaks)}, {"operations", records}}.dump());
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  apps::CommandLine app(
      "The peak rates of this machine, and the operations of a training step (ResNet-18 for 32x32, "
      "projector 1024x4, Adam) measured against them.",
      "ops");
  apps::add_integer(app, "--batch", options.batch, "Images a step (each in two views)", 2, 1 << 14);
  apps::add_integer(app, "--repeats", options.repeats,
                    "Calls timed at least, after a first one; the fastest counts", 1, 100000);
  apps::add_integer(app, "--threads", options.threads, "Threads; 0: all cores", 0, 4096);
  app.add_flag("--bf16", options.bf16, "Activations in bfloat16");
  app.add_flag("--json", options.json, "The figures as JSON, in seconds, bytes and operations");
  return apps::run_program(app, argc, argv, [&] { run(options); });
}
