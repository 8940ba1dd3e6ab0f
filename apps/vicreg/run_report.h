// report.html: what a run folder's numbers and pictures say, on one page that needs nothing else.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include <gradus/data/dataset.h>
#include <gradus/tensor/tensor.h>
#include "vicreg/knn.h"
#include "vicreg/metrics.h"
#include "vicreg/options.h"
#include "vicreg/pictures.h"

namespace gradus::vicreg {

// The files of a run folder, beside the configuration (options.h).
inline constexpr const char* checkpoint_name = "checkpoint.safetensors";
inline constexpr const char* report_name = "report.html";
inline constexpr const char* metrics_name = "metrics.jsonl";
inline constexpr const char* results_name = "linear_eval.json";  // of linear_eval

/// What the page says of a run apart from pictures: its configuration, its curves (long ones
/// averaged over spans of steps, with the range), the health of its embeddings, and the commands
/// to go on with. `config` is the text of its config.toml.
nlohmann::json describe_run(const std::filesystem::path& folder, const std::string& config,
                            const TrainOptions& options, const Metrics& metrics);
/// The same from the files of the folder. Throws Error if it is no run folder.
nlohmann::json describe_run(const std::filesystem::path& folder);

/// Adds what programs put into a folder's page, where `run` has none of its own:
///   "training"    by train: machine, versions, images with their views
///   "evaluation"  by linear_eval: its results (linear_eval.json) with evaluation_pictures
void keep_parts(const std::filesystem::path& folder, nlohmann::json& run);

/// Writes the page of one run: `run` as described, and the parts that are kept. Atomic; programs
/// that write at the same time take turns.
void write_run_report(const std::filesystem::path& folder, nlohmann::json run);

/// The run of a folder's page, {} where there is no page that can be read.
nlohmann::json read_page_run(const std::filesystem::path& folder);

/// A page's text: the template with that data in it, of which nothing is taken for HTML.
std::string make_page(const nlohmann::json& data);

/// The computer, versions and the time, as the page shows them: "CPU", "GPU", "Threads", ...
nlohmann::json describe_machine(Device device);

/// The first training images, one a column, over their views in that epoch, from 0.
PictureSheet view_sheet(const data::Dataset& train, const TrainOptions& options,
                        std::int64_t epoch);
/// The training images of a report: that sheet and what its rows and columns are.
nlohmann::json training_pictures(const data::Dataset& train, const TrainOptions& options,
                                 std::int64_t epoch);

/// The test images of a report: a map of the features, the nearest training images of some, and the
/// mistakes of which the classifier was surest. `scores` [M, classes] are its; features [M, F]
/// and [N, F].
nlohmann::json evaluation_pictures(const data::Dataset& train, const data::Dataset& test,
                                   const Tensor& train_features, const Tensor& test_features,
                                   const Tensor& scores);

}  // namespace gradus::vicreg
