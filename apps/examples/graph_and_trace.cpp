// Looks inside a training step: writes the graph of a small network's loss (graph.dot; draw it with
// `dot -Tsvg graph.dot > graph.svg`) and the intervals of a step (trace.json; open it in
// chrome://tracing or ui.perfetto.dev).
#include <gradus/gradus.h>

using namespace gradus;

int main() {
  Generator rng(0);
  nn::Sequential net;
  net.add<nn::Conv2d>({.in_channels = 3, .out_channels = 16, .kernel = 3, .padding = 1}, rng);
  net.add<nn::BatchNorm2d>({.channels = 16});
  net.add<nn::ReLU>();
  net.add<nn::GlobalAvgPool2d>();
  net.add<nn::Linear>({.in_features = 16, .out_features = 10}, rng);
  optim::Adam adam(net.parameters(), {.lr = 1e-3});
  data::Loader loader(data::synthetic_dataset(256, data::Split::train), {.batch_size = 64});

  std::string graph;  // of the first batch's loss: those of the others are alike
  const Trace trace;
  for (auto& [images, labels, samples] : loader.epoch(0)) {
    const TraceInterval step("example", "a training step");
    adam.zero_grad();
    const Variable loss = nn::cross_entropy(net(images), labels);
    if (graph.empty()) graph = graph_dot(loss, net.parameters());
    loss.backward();
    adam.step();
  }
  write_file_atomically("graph.dot", graph);
  write_file_atomically("trace.json", trace.json());
  fmt::print("graph.dot and trace.json written\n");
}
