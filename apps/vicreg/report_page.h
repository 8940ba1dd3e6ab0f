// The page's template, made by CMake of the files in report/.
#pragma once

namespace gradus::vicreg {

/// The HTML with style and scripts, and a place for the data (make_page in run_report.h).
extern const char* const report_page;

}  // namespace gradus::vicreg
