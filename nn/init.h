// Initial values of weights, from a Generator: each call draws one tensor, in row-major order of
// our layout.
#pragma once

#include <gradus/tensor/random.h>
#include <gradus/tensor/tensor.h>

namespace gradus::nn {

/// PyTorch's default for linear and convolution layers: U(-1/sqrt(fan_in), 1/sqrt(fan_in)), for the
/// weight (kaiming_uniform with a = sqrt 5) and the bias. fan_in: inputs of one output element.
Tensor uniform_fan_in(const Shape& shape, std::int64_t fan_in, Generator& generator);

/// N(0, 2 / fan_out), fan_out = O kH kW of a weight [O, kH, kW, I]: what torchvision's ResNet uses
/// for convolutions. He et al., "Delving deep into rectifiers", ICCV 2015.
Tensor kaiming_normal_fan_out(const Shape& conv_weight_shape, Generator& generator);

}  // namespace gradus::nn
