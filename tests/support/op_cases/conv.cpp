#include <gradus/autograd/ops.h>
#include "tests/support/op_cases.h"

namespace gradus::test {

void add_conv_cases(OpCases& cases) {
  struct Geometry {
    std::string name;
    Shape input, weight;
    Conv2dOptions options = {};
    bool bias = true;
  };
  const std::vector<Geometry> geometries = {
      {"1x1", {2, 4, 3, 3}, {5, 1, 1, 3}},
      {"1x1_stride2", {2, 5, 4, 3}, {4, 1, 1, 3}, {.stride = 2}, false},
      {"1x1_padded", {1, 3, 2, 2}, {3, 1, 1, 2}, {.padding = 1}},
      {"3x3", {2, 5, 6, 3}, {4, 3, 3, 3}},
      {"3x3_same", {2, 5, 4, 3}, {4, 3, 3, 3}, {.padding = 1}, false},
      {"3x3_padding2", {1, 4, 4, 2}, {3, 3, 3, 2}, {.padding = 2}},
      {"3x3_stride2", {2, 6, 7, 3}, {4, 3, 3, 3}, {.stride = 2, .padding = 1}, false},
      {"3x3_stride2_even", {1, 8, 8, 2}, {3, 3, 3, 2}, {.stride = 2, .padding = 1}},
      {"5x5", {1, 6, 5, 2}, {3, 5, 5, 2}, {.padding = 2}},
      {"7x7_stride2", {1, 9, 8, 3}, {2, 7, 7, 3}, {.stride = 2, .padding = 3}, false},
      {"2x2_stride2", {2, 4, 6, 2}, {3, 2, 2, 2}, {.stride = 2}},
      {"2x2_stride3", {1, 8, 7, 2}, {2, 2, 2, 2}, {.stride = 3}},
      {"2x2_remainder", {1, 5, 5, 2}, {2, 2, 2, 2}, {.stride = 2}, false},
      {"4x4_stride2", {1, 6, 7, 2}, {3, 4, 4, 2}, {.stride = 2, .padding = 1}},
      {"tall", {1, 6, 4, 2}, {3, 3, 1, 2}, {.padding = {1, 0}}},
      {"wide", {1, 4, 6, 2}, {3, 1, 4, 2}, {.padding = {0, 2}}, false},
      {"anisotropic",
       {1, 7, 9, 2},
       {3, 3, 2, 2},
       {.stride = {2, 3}, .padding = {0, 1}, .dilation = {1, 2}}},
      {"dilation2", {1, 7, 6, 2}, {3, 3, 3, 2}, {.padding = 2, .dilation = 2}},
      {"dilation3_stride2",
       {1, 9, 8, 2},
       {2, 3, 3, 2},
       {.stride = 2, .padding = 1, .dilation = {3, 2}}},
      {"groups2", {2, 4, 4, 4}, {6, 3, 3, 2}, {.padding = 1, .groups = 2}},
      {"groups3_1x1", {1, 3, 4, 6}, {3, 1, 1, 2}, {.groups = 3}, false},
      {"groups2_stride2_dilation2",
       {1, 7, 7, 4},
       {4, 3, 3, 2},
       {.stride = 2, .padding = 2, .dilation = 2, .groups = 2}},
      {"depthwise", {2, 5, 4, 5}, {5, 3, 3, 1}, {.padding = 1, .groups = 5}},
      {"depthwise_multiplier2",
       {1, 4, 4, 3},
       {6, 3, 3, 1},
       {.stride = 2, .padding = 1, .groups = 3}},
      {"whole_image", {3, 4, 5, 2}, {4, 4, 5, 2}},
      {"one_pixel", {2, 1, 1, 3}, {4, 3, 3, 3}, {.padding = 1}},
      {"one_channel", {2, 5, 5, 1}, {1, 3, 3, 1}, {.padding = 1}},
      {"odd_channels", {1, 3, 4, 17}, {19, 3, 3, 17}, {.padding = 1}},
      {"padding_only_windows", {1, 2, 2, 1}, {2, 2, 2, 1}, {.stride = 2, .padding = 2}},
      {"empty", {0, 4, 4, 2}, {3, 3, 3, 2}, {.padding = 1}},
  };
  for (const Geometry& geometry : geometries) {
    std::vector<InputSpec> inputs = {uniform_input(geometry.input),
                                     parameter_input(geometry.weight)};
    if (geometry.bias) inputs.push_back(parameter_input({geometry.weight[0]}));
    cases.push_back({"conv2d." + geometry.name, inputs,
                     [options = geometry.options](const std::vector<Variable>& in) {
                       return conv2d(in[0], in[1], in.size() > 2 ? in[2] : Variable(), options);
                     }});
  }
}

}  // namespace gradus::test
