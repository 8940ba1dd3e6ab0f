#include <gradus/tensor/trace.h>

#include <chrono>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include <gradus/tensor/check.h>

namespace gradus {
namespace {

std::int64_t now() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::nanoseconds(Clock::now().time_since_epoch()).count();
}

/// An interval that has ended.
struct Event {
  std::string category, name;
  std::int64_t begin, end;
  std::size_t thread;
};

struct State {
  std::mutex mutex;  // guards all below
  std::int64_t started = 0;
  std::vector<Event> events;
  std::map<std::thread::id, std::size_t> threads;
};

/// Never destroyed: a Trace in static storage may outlive any order of destruction.
State& state() {
  static auto* all = new State;
  return *all;
}

}  // namespace

Trace::Trace() {
  const std::lock_guard lock(state().mutex);
  check(!on_, "trace", "there is a Trace already; one at a time collects");
  state().started = now();
  on_ = true;
}

Trace::~Trace() {
  const std::lock_guard lock(state().mutex);
  on_ = false;
  state().events.clear();
  state().threads.clear();
}

std::string Trace::json() const {
  const std::lock_guard lock(state().mutex);
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  const auto microseconds = [](std::int64_t time) { return static_cast<double>(time) * 1e-3; };
  for (const Event& event : state().events) {
    list.push_back({{"name", event.name},
                    {"cat", event.category},
                    {"ph", "X"},
                    {"ts", microseconds(event.begin - state().started)},
                    {"dur", microseconds(event.end - event.begin)},
                    {"pid", 0},
                    {"tid", event.thread}});
  }
  return nlohmann::ordered_json{{"traceEvents", list}}.dump(
      -1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void TraceInterval::begin(std::string_view category, std::string_view name) {
  open_.emplace(Open{std::string(category), std::string(name), now()});
}

void TraceInterval::end() {
  const std::int64_t time = now();
  auto& [mutex, started, events, threads] = state();
  const std::lock_guard lock(mutex);
  // One that began before the Trace that there is now, or has outlived it, is in none.
  if (!Trace::on() || open_->begin < started) return;
  const std::size_t thread =
      threads.try_emplace(std::this_thread::get_id(), threads.size()).first->second;
  events.push_back(
      {std::move(open_->category), std::move(open_->name), open_->begin, time, thread});
}

}  // namespace gradus
