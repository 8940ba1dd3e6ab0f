// Trace: a training step as intervals that nest as the calls do, by thread; nothing when it is off.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include <gradus/autograd/ops.h>
#include <gradus/nn/activation.h>
#include <gradus/nn/linear.h>
#include <gradus/nn/sequential.h>
#include <gradus/optim/sgd.h>
#include <gradus/tensor/trace.h>
#include "tests/support/device.h"
#include "tests/support/errors.h"

using namespace gradus;
using namespace gradus::test;

namespace {

struct Interval {
  std::string category, name;
  double begin, end;
  int thread;
};

/// The events of a trace; each must be a complete one.
std::vector<Interval> intervals(const Trace& trace) {
  std::vector<Interval> list;
  const nlohmann::json json = nlohmann::json::parse(trace.json());
  for (const auto& event : json.at("traceEvents")) {
    CHECK(event.at("ph") == "X");
    CHECK(event.at("pid") == 0);
    const double begin = event.at("ts"), length = event.at("dur");
    CHECK(begin >= 0);
    CHECK(length >= 0);
    list.push_back({event.at("cat"), event.at("name"), begin, begin + length, event.at("tid")});
  }
  return list;
}

/// The interval of that category and name, which must be the only one.
Interval find(const std::vector<Interval>& all, const std::string& category,
              const std::string& name) {
  CAPTURE(category);
  CAPTURE(name);
  std::vector<Interval> found;
  for (const Interval& interval : all)
    if (interval.category == category && interval.name == name) found.push_back(interval);
  REQUIRE(found.size() == 1);
  return found[0];
}

constexpr double rounding = 1e-6;  // of microseconds as doubles
bool within(const Interval& inner, const Interval& outer) {
  return inner.thread == outer.thread && inner.begin >= outer.begin - rounding &&
         inner.end <= outer.end + rounding;
}
bool before(const Interval& first, const Interval& second) {
  return first.end <= second.begin + rounding;
}

/// A linear layer, a ReLU, and SGD.
struct Training {
  Generator generator{0};
  nn::Sequential net;
  std::unique_ptr<optim::Sgd> sgd;
  Tensor x = full({8, 4}, 0.5, device_options());

  Training() {
    net.add<nn::Linear>({.in_features = 4, .out_features = 3}, generator);
    net.add<nn::ReLU>();
    net.to(test_device());
    sgd = std::make_unique<optim::Sgd>(optim::one_group(net.parameters()), optim::Sgd::Options{});
  }
  void step() {
    sgd->zero_grad();
    sum(net(x)).backward();
    sgd->step();
  }
};

}  // namespace

TEST_CASE("a step's trace holds forward, backward and optimiser, which nest as the calls do") {
  Training training;
  training.step();
  const Trace trace;
  training.step();
  const std::vector<Interval> all = intervals(trace);
  const Interval net = find(all, "module", "Sequential"), fc = find(all, "module", "0 (Linear)"),
                 relu = find(all, "module", "1 (ReLU)"), back = find(all, "step", "backward"),
                 relu_back = find(all, "backward", "relu"),
                 fc_back = find(all, "backward", "linear"), sgd = find(all, "step", "optimizer");
  CHECK(within(fc, net));
  CHECK(within(relu, net));
  CHECK(before(fc, relu));
  CHECK(before(net, back));
  CHECK(within(relu_back, back));
  CHECK(within(fc_back, back));
  CHECK(before(relu_back, fc_back));
  CHECK(before(back, sgd));
  // Each has the kernels that do its work.
  for (const Interval& outer : {fc, relu, relu_back, fc_back, sgd}) {
    CAPTURE(outer.name);
    int kernels = 0;
    for (const Interval& inner : all) {
      if (inner.category != "kernel") continue;
      CHECK(inner.name.find_first_of("<( ") == std::string::npos);
      kernels += within(inner, outer);
    }
    CHECK(kernels > 0);
  }
  // Any two intervals of a thread nest or follow each other.
  for (const Interval& a : all)
    for (const Interval& b : all)
      if (a.thread == b.thread)
        CHECK((within(a, b) || within(b, a) || before(a, b) || before(b, a)));
}

TEST_CASE("a trace tells threads apart, and a program adds its own intervals") {
  const Trace trace;
  const TraceInterval unfinished("mine", "unfinished");
  { const TraceInterval interval("mine", "a \"name\"\n"); }
  std::thread([] { const TraceInterval interval("mine", "elsewhere"); }).join();
  const std::vector<Interval> all = intervals(trace);
  REQUIRE(all.size() == 2);
  CHECK(find(all, "mine", "a \"name\"\n").thread == 0);
  CHECK(find(all, "mine", "elsewhere").thread == 1);
}

TEST_CASE("without a trace nothing is collected; one at a time is") {
  Training training;
  std::optional<TraceInterval> early;
  early.emplace("mine", "begun before");
  CHECK(!Trace::on());
  training.step();
  {
    const Trace trace;
    CHECK(Trace::on());
    early.reset();
    CHECK(intervals(trace).empty());
    CHECK_ERROR(Trace(), "[trace] there is a Trace already");
    CHECK(Trace::on());
    training.step();
    CHECK(!intervals(trace).empty());
    early.emplace("mine", "outlives the trace");
  }
  CHECK(!Trace::on());
  const Trace later;
  early.reset();
  CHECK(intervals(later).empty());
}
