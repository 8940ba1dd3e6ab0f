#include "vicreg/run_report.h"

#include <fmt/chrono.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include <gradus/tensor/device.h>
#include <gradus/tensor/io/file.h>
#include "common/version.h"
#include "vicreg/embedding_health.h"
#include "vicreg/report_page.h"

namespace gradus::vicreg {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::size_t most_points = 1000;  // of a curve
constexpr double few_directions = 0.05;    // a doubtful share of the possible ones
constexpr std::string_view data_begin = "<script id=\"data\" type=\"application/json\">";
constexpr std::string_view data_end = "</script>";

std::string read_file(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

/// Five digits, which a curve shows; null where the number is not finite.
json number(double value) {
  if (!std::isfinite(value)) return nullptr;
  return std::strtod(fmt::format("{:.5g}", value).c_str(), nullptr);
}

/// Curves have a point a record, or each for a span of them.
std::size_t span_count(std::size_t records) { return std::min(records, most_points); }
/// The first record of a span.
std::size_t span_begin(std::size_t span, std::size_t records) {
  return span * records / span_count(records);
}

/// Where the points of the curves lie: the mean step of each span.
json step_axis(const std::vector<StepRecord>& records) {
  json steps = json::array();
  const std::size_t count = records.size();
  for (std::size_t s = 0; s < span_count(count); ++s) {
    const auto first = static_cast<double>(records[span_begin(s, count)].step);
    const auto last = static_cast<double>(records[span_begin(s + 1, count) - 1].step);
    steps.push_back((first + last) / 2);
  }
  return steps;
}

/// One curve: {"mean": [...]} with a value a span of records, and where spans hold several records
/// their range, "low" and "high". Null where no record has a finite value.
json curve(const std::vector<StepRecord>& records,
           const std::function<double(const StepRecord&)>& value) {
  const std::size_t spans = span_count(records.size());
  json mean = json::array(), low = json::array(), high = json::array();
  for (std::size_t s = 0; s < spans; ++s) {
    double sum = 0, least = INFINITY, most = -INFINITY;
    int finite = 0;
    for (std::size_t i = span_begin(s, records.size()); i < span_begin(s + 1, records.size());
         ++i) {
      const double x = value(records[i]);
      if (!std::isfinite(x)) continue;
      ++finite;
      sum += x;
      least = std::min(least, x);
      most = std::max(most, x);
    }
    mean.push_back(number(sum / finite));  // NaN where there is none
    low.push_back(number(least));
    high.push_back(number(most));
  }
  if (records.size() == spans) return {{"mean", mean}};
  return {{"mean", mean}, {"low", low}, {"high", high}};
}

/// The curves over the steps, by key, and the titles of the loss's terms.
json step_curves(const std::vector<StepRecord>& records, LossName loss) {
  json curves = {
      {"step", step_axis(records)},
      {"lr", curve(records, [](const StepRecord& r) { return r.learning_rate; })},
      {"images_per_second",
       curve(records, [](const StepRecord& r) { return r.images_per_second; })},
      {"data_wait_share", curve(records, [](const StepRecord& r) { return r.data_wait_share; })},
      {"terms", json::array()}};
  if (!records.empty() && records.back().probe_train)
    curves["probe_train"] =
        curve(records, [](const StepRecord& r) { return r.probe_train.value_or(NAN); });
  for (const LossTerm& term : loss_terms(loss)) {
    curves["terms"].push_back({{"key", term.key}, {"title", term.title}});
    curves[term.key] = curve(records, [&](const StepRecord& r) { return r.loss.*term.value; });
  }
  return curves;
}

/// Whatever numbers the epochs' records hold, by key: an array with a value an epoch.
json epoch_curves(const Metrics& metrics) {
  json curves = json::object();
  const std::vector<EpochRecord>& epochs = metrics.epochs;
  const auto add = [&](std::int64_t epoch, const nlohmann::ordered_json& record) {
    const auto same = [&](const EpochRecord& other) { return other.epoch == epoch; };
    const auto place = std::ranges::find_if(epochs, same) - epochs.begin();
    if (place == std::ssize(epochs)) return;
    for (const auto& [key, value] : record.items()) {
      json& column = curves[key];
      if (column.is_null()) column = std::vector<json>(epochs.size());
      column[static_cast<std::size_t>(place)] =
          value.is_number() ? number(value.get<double>()) : json();
    }
  };
  for (const EpochRecord& record : epochs) add(record.epoch, to_json(record));
  for (const AccuracyRecord& record : metrics.accuracies) add(record.epoch, to_json(record));
  return curves;
}

/// Thresholds and a verdict in plain words on the last epoch.
json describe_health(const TrainOptions& o, const std::vector<EpochRecord>& epochs) {
  const bool known = !epochs.empty() && epochs.back().embeddings > 0;
  const std::int64_t embeddings = known ? epochs.back().embeddings : 2 * o.batch_size;
  const std::int64_t dimensions = o.model.projector_widths.back();
  const std::int64_t most_rank = std::min(embeddings, dimensions);
  const CollapseThresholds thresholds = collapse_thresholds(embeddings, dimensions);
  json health = {
      {"std", thresholds.std_mean}, {"rank", thresholds.effective_rank}, {"most_rank", most_rank}};
  if (epochs.empty()) {
    health["verdict"] = "unknown";
    health["text"] = "The embeddings are measured at the end of each epoch; none is done yet.";
    return health;
  }
  const EpochRecord& last = epochs.back();
  const auto warning = collapse_warning(last.health, embeddings, dimensions, o.loss);
  const bool few = last.health.effective_rank < few_directions * static_cast<double>(most_rank);
  health["verdict"] = warning ? "warning" : few ? "doubtful" : "healthy";
  const std::string numbers = fmt::format(
      "mean std {:.2f}, where below {} would be a collapse; about {:.1f} of {} possible "
      "directions used, where below {:.1f} would be one",
      last.health.std_mean, thresholds.std_mean, last.health.effective_rank, most_rank,
      thresholds.effective_rank);
  health["text"] =
      warning ? *warning + "."
      : few   ? "The embeddings have not collapsed, but use few of the directions that they could: "
                "their dimensions repeat each other. Where that stays so, they hold little of what "
                "tells images apart (" +
                  numbers + ")."
            : "The embeddings of different images differ, in many directions: no sign of a "
              "collapse (" +
                  numbers + ").";
  return health;
}

/// A word of a shell's command line.
std::string quoted(const std::string& word) {
  constexpr std::string_view plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+=:,";
  if (!word.empty() && word.find_first_not_of(plain) == word.npos) return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

json commands(const fs::path& folder, const TrainOptions& o) {
  const std::string programs = "build/apps/vicreg/", run = quoted(folder.string());
  const std::string checkpoint = quoted((folder / checkpoint_name).string());
  std::string data = "--dataset " + apps::name_of(dataset_names, o.data.dataset);
  if (o.data.dataset != DatasetName::synthetic) data += " --data " + quoted(o.data.folder);
  if (o.data.skip_unreadable) data += " --skip-unreadable";
  return {
      {{"title", "Go on training"}, {"text", programs + "train --out " + run + " --resume"}},
      {{"title", "Evaluate"},
       {"text", programs + "linear_eval " + checkpoint + " " + data + " --knn"}},
      {{"title", "Evaluate in less time, on cached features"},
       {"text", programs + "linear_eval " + checkpoint + " " + data +
                    " --cached --protocol vicreg --crops 0 --knn"}},
      {{"title", "Export the weights for PyTorch"},
       {"text", programs + "train --out " + run + " --resume --steps 0 --export " +
                    quoted((folder / "weights.safetensors").string())}},
      {{"title", "Compare with another run"}, {"text", programs + "report " + run + " OTHER_RUN"}}};
}

/// The options of these arguments, and all of them as TOML.
TrainOptions parse_options(std::vector<const char*> arguments, std::string& toml) {
  arguments.insert(arguments.begin(), "train");
  TrainOptions options;
  parse_train_options(static_cast<int>(arguments.size()), arguments.data(), options, toml);
  return options;
}

std::string now() { return fmt::format("{:%Y-%m-%d %H:%M} UTC", fmt::gmtime(std::time(nullptr))); }

std::string cpu_name() {
  std::ifstream stream("/proc/cpuinfo");
  for (std::string line; std::getline(stream, line);)
    if (line.starts_with("model name"))
      return line.substr(std::min(line.find(": ") + 2, line.size()));
  return "unknown";
}

}  // namespace

json describe_run(const fs::path& folder, const std::string& config, const TrainOptions& options,
                  const Metrics& metrics) {
  std::string defaults;
  const std::string recipe = apps::name_of(recipes, options.recipe);
  parse_options({"--recipe", recipe.c_str()}, defaults);
  double seconds = 0;
  for (const StepRecord& step : metrics.steps)
    if (step.images_per_second > 0)
      seconds += static_cast<double>(step.images) / step.images_per_second;
  return {{"name", folder.string()},
          {"updated", now()},
          {"config", config},
          {"defaults", defaults},
          {"epochs", options.epochs},
          {"steps_done", metrics.steps.empty() ? 0 : metrics.steps.back().step},
          {"seconds", number(seconds)},
          {"steps", step_curves(metrics.steps, options.loss)},
          {"epoch_values", epoch_curves(metrics)},
          {"health", describe_health(options, metrics.epochs)},
          {"commands", commands(folder, options)}};
}

json describe_run(const fs::path& folder) {
  const fs::path config = folder / config_name;
  check(fs::exists(config) && fs::exists(folder / metrics_name), "report",
        "{} is no run folder: it has no {}", folder.string(),
        fs::exists(config) ? metrics_name : config_name);
  std::string resolved;
  const TrainOptions options = parse_options({"--config", config.c_str()}, resolved);
  return describe_run(folder, resolved, options, read_metrics(folder / metrics_name));
}

json read_page_run(const fs::path& folder) {
  const std::string page = read_file(folder / report_name);
  const std::size_t begin = page.find(data_begin);
  if (begin == page.npos) return json::object();
  const std::size_t first = begin + data_begin.size(), end = page.find(data_end, first);
  const json data = json::parse(page.substr(first, end - first), nullptr, false);
  const bool has_run = data.contains("runs") && data["runs"].is_array() && data["runs"].size() == 1;
  return has_run && data["runs"][0].is_object() ? data["runs"][0] : json::object();
}

void keep_parts(const fs::path& folder, json& run) {
  const json before = read_page_run(folder);
  for (const char* part : {"training", "evaluation"})
    if (!run.contains(part) && before.contains(part) && before[part].is_object())
      run[part] = before[part];
}

void write_run_report(const fs::path& folder, json run) {
  // The page that is there is read while this process alone writes it.
  write_file_atomically(folder / report_name, [&](FileWriter& file) {
    keep_parts(folder, run);
    file.write(make_page({{"runs", json::array({run})}}));
  });
}

std::string make_page(const json& data) {
  constexpr std::string_view place = "{{data}}";
  std::string text = data.dump(-1, ' ', false, json::error_handler_t::replace);
  // No "<" means no "</script>"; within JSON it stands in strings only.
  std::string safe;
  safe.reserve(text.size());
  for (const char c : text) c == '<' ? safe += "\\u003c" : safe += c;
  std::string page = report_page;
  page.replace(page.find(place), place.size(), safe);
  return page;
}

json describe_machine(Device device) {
  json machine = {{"Gradus", apps::version()},
                  {"CPU", cpu_name()},
                  {"Threads", omp_get_max_threads()},
                  {"Vector instructions", cpu_instructions()},
                  {"Last trained", now()}};
  if (device == Device::cuda) machine["GPU"] = cuda_device_description();
  return machine;
}

}  // namespace gradus::vicreg
