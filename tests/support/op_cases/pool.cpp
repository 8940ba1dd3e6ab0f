#include <gradus/autograd/ops.h>
#include "tests/support/op_cases.h"

namespace gradus::test {

void add_pool_cases(OpCases& cases) {
  using Inputs = std::vector<Variable>;
  struct Geometry {
    std::string name;
    Shape input;
    Pool2dOptions options;
  };
  const std::vector<Geometry> geometries = {
      {"2x2", {2, 4, 6, 3}, {.kernel = 2, .stride = 2}},
      {"2x2_remainder", {1, 5, 7, 2}, {.kernel = 2, .stride = 2}},
      {"3x3_stride2", {2, 7, 8, 3}, {.kernel = 3, .stride = 2, .padding = 1}},
      {"3x3_stride1", {1, 4, 5, 2}, {.kernel = 3, .stride = 1, .padding = 1}},
      {"rectangle", {1, 6, 7, 2}, {.kernel = {2, 3}, .stride = {2, 1}, .padding = {1, 0}}},
      {"gaps", {1, 7, 7, 2}, {.kernel = 2, .stride = 3}},
      {"whole", {2, 3, 4, 3}, {.kernel = {3, 4}, .stride = 1}},
      {"1x1", {1, 3, 2, 2}, {.kernel = 1, .stride = 1}},
      {"one_pixel", {1, 1, 1, 5}, {.kernel = 3, .stride = 1, .padding = 1}},
      {"odd_channels", {1, 4, 4, 17}, {.kernel = 2, .stride = 2}},
      {"empty", {0, 4, 4, 2}, {.kernel = 2, .stride = 2}},
  };
  for (const Geometry& geometry : geometries) {
    Pool2dOptions options = geometry.options;
    cases.push_back({"max_pool2d." + geometry.name,
                     {distinct_input(geometry.input)},
                     [options](const Inputs& in) { return max_pool2d(in[0], options); }});
    cases.push_back({"avg_pool2d." + geometry.name,
                     {uniform_input(geometry.input)},
                     [options](const Inputs& in) { return avg_pool2d(in[0], options); }});
    options.count_include_pad = false;
    cases.push_back({"avg_pool2d." + geometry.name + ".without_padding",
                     {uniform_input(geometry.input)},
                     [options](const Inputs& in) { return avg_pool2d(in[0], options); }});
  }
  const std::vector<std::pair<std::string, Shape>> shapes = {
      {"image", {2, 4, 5, 3}}, {"one_pixel", {2, 1, 1, 3}}, {"odd", {1, 7, 1, 17}}};
  for (const auto& [name, shape] : shapes) {
    cases.push_back({"global_avg_pool2d." + name, {uniform_input(shape)}, [](const Inputs& in) {
                       return global_avg_pool2d(in[0]);
                     }});
  }
}

}  // namespace gradus::test
