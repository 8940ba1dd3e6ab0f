// The page's template, made by CMake of the files in report/.
#pragma once

namespace gradus::vicreg {

extern const char* const report_page;

}  // namespace gradus::vicreg
