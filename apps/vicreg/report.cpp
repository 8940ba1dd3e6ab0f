// Writes a run's report anew, or a page that compares runs: `report --help`.
#include "common/command_line.h"

#include <gradus/tensor/io/file.h>
#include <nlohmann/json.hpp>
#include "common/program.h"
#include "vicreg/run_report.h"

namespace gradus::vicreg {
namespace {

int run(const std::vector<std::string>& folders, const std::string& out) {
  if (folders.size() == 1 && out.empty()) {
    write_run_report(folders[0], describe_run(folders[0]));
    apps::print("{}\n", (std::filesystem::path(folders[0]) / report_name).string());
    return 0;
  }
  std::vector<nlohmann::json> runs;
  for (const std::string& folder : folders) {
    nlohmann::json run = describe_run(folder);
    keep_parts(folder, run);
    if (folders.size() > 1) {  // of several, the page shows numbers alone
      run.erase("training");
      if (run.contains("evaluation")) run["evaluation"].erase("pictures");
    }
    runs.push_back(std::move(run));
  }
  const std::string page = out.empty() ? "comparison.html" : out;
  for (const std::filesystem::path folder : folders)
    for (const char* name : {checkpoint_name, metrics_name, config_name, report_name})
      apps::check_not_input("report", "--out", page, folder / name);
  write_file_atomically(page, make_page({{"runs", runs}}));
  apps::print("{}\n", page);
  return 0;
}

}  // namespace
}  // namespace gradus::vicreg

int main(int argc, char** argv) {
  using namespace gradus;
  return apps::run_program("report", argv, [&] {
    apps::CommandLine app(
        "Writes report.html of a run folder anew, or one page that compares several runs.",
        "report");
    std::vector<std::string> folders;
    std::string out;
    app.add_option("runs", folders, "Run folders")->required();
    app.add_option("--out", out,
                   "The page (default: of one run its report.html, of several comparison.html)");
    return apps::parse_command_line(app, argc, argv) ? vicreg::run(folders, out) : 0;
  });
}
