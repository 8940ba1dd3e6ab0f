#!/usr/bin/env python3
"""PyTorch's values and gradients for every case of tests/support/op_cases.h -> ops.safetensors.

Holds `<case>/output` and `<case>/dinput<i>`, the gradients of sum(doutput * output). Inputs are drawn
from their names on both sides. Images are NHWC and weights OHWI, as in Gradus; the functions here
permute them inside the graph, so that gradients come out in the same layout.
"""

import itertools

import torch
import torch.nn.functional as F

from common import away_from_zero, distinct, save, uniform, unit_of_seed

cases = {}


def case(name, inputs, function):
    """Registers a case; inputs are (kind, shape, arguments...)."""
    assert name not in cases, name
    cases[name] = (inputs, function)


def U(shape, low=-1.0, high=1.0):
    return (uniform, shape, low, high)


def away(shape):
    return (away_from_zero, shape)


def ranks(shape, shift=0.0):
    return (distinct, shape, shift)


def elementwise_cases():
    shapes = {"scalar": [], "one": [1, 1], "vector": [37], "empty": [0, 3], "cube": [3, 5, 7]}
    unary = {
        "affine": (U, lambda x: 2.5 * x - 0.75),
        "neg": (U, torch.neg),
        "exp": (U, torch.exp),
        "log": (lambda s: U(s, 0.1, 3), torch.log),
        "sqrt": (lambda s: U(s, 0.1, 3), torch.sqrt),
        "square": (U, torch.square),
        "pow.cubed": (away, lambda x: x**3),
        "pow.fraction": (lambda s: U(s, 0.2, 3), lambda x: x**-1.5),
        "abs": (away, torch.abs),
        "clamp": (lambda s: ranks(s, 0.03125), lambda x: x.clamp(-1, 0.5)),
        "relu": (away, torch.relu),
        "leaky_relu": (away, lambda x: F.leaky_relu(x, 0.2)),
        "sigmoid": (lambda s: U(s, -6, 6), torch.sigmoid),
        "tanh": (lambda s: U(s, -3, 3), torch.tanh),
        "gelu": (lambda s: U(s, -4, 4), F.gelu),
    }
    for (name, (kind, f)), (suffix, shape) in itertools.product(unary.items(), shapes.items()):
        case(f"{name}.{suffix}", [kind(shape)], f)
    case("exp.large", [U([20], -60, 60)], torch.exp)
    case("sigmoid.large", [U([20], -60, 60)], torch.sigmoid)
    case("tanh.large", [U([64], -30, 30)], torch.tanh)
    case("gelu.large", [U([20], -10, 10)], F.gelu)

    patterns = {
        "same": ([3, 4], [3, 4]),
        "row": ([3, 4], [4]),
        "row_left": ([4], [3, 4]),
        "column": ([3, 1], [3, 4]),
        "outer": ([3, 1], [1, 4]),
        "scalar": ([2, 3, 5], []),
        "scalar_left": ([], [2, 3]),
        "scalars": ([], []),
        "ones": ([1], [1, 1, 1]),
        "middle": ([2, 1, 3], [2, 4, 3]),
        "ends": ([1, 4, 1], [3, 1, 5]),
        "mixed": ([2, 3, 1, 4], [3, 5, 1]),
        "tail": ([3, 37], [37]),
        "empty": ([0, 3], [1, 3]),
    }
    binary = {
        "add": (U, U, torch.add),
        "sub": (U, U, torch.sub),
        "mul": (U, U, torch.mul),
        "div": (U, lambda s: U(s, 0.5, 2), torch.div),
        "maximum": (ranks, lambda s: ranks(s, 0.0625), torch.maximum),
        "minimum": (ranks, lambda s: ranks(s, 0.0625), torch.minimum),
    }
    for (name, (a, b, f)), (suffix, shapes) in itertools.product(binary.items(), patterns.items()):
        case(f"{name}.{suffix}", [a(shapes[0]), b(shapes[1])], f)

    def where(shape):
        count = int(torch.Size(shape).numel())
        mask = torch.tensor([i * 7 % 3 != 0 for i in range(count)], dtype=torch.bool)
        mask = mask.reshape(shape)
        return lambda a, b: torch.where(mask, a, b)

    case("where.same", [U([3, 4]), U([3, 4])], where([3, 4]))
    case("where.broadcast_condition", [U([3, 4]), U([3, 4])], where([4]))
    case("where.broadcast_values", [U([4]), U([3, 1])], where([2, 3, 4]))
    case("where.scalars", [U([]), U([])], where([5]))
    case("where.empty", [U([0, 2]), U([2])], where([0, 2]))

    case("operator.variables", [U([3]), U([3]), U([3], 1, 2)], lambda a, b, c: (a + b - a * b) / c)
    case("operator.numbers", [U([5])], lambda x: 2 * (-(x + 1) * 3 - 1) / 4)
    case("operator.number_first", [U([5])], lambda x: 1.5 - (0.5 + x))
    case("cast.there_and_back", [U([3, 5])], lambda x: x.double().clone())
    case("reuse.square", [U([4])], lambda x: x * x)
    case("reuse.branches", [U([2, 3])], lambda x: torch.exp(x) * x + torch.sum(x) * x)


def shape_cases():
    case("reshape.merge", [U([2, 3, 4])], lambda x: x.reshape(6, 4))
    case("reshape.infer", [U([2, 3, 4])], lambda x: x.reshape(4, -1))
    case("reshape.scalar", [U([1, 1])], lambda x: x.reshape([]))
    case("flatten.all", [U([2, 3, 4])], lambda x: x.flatten())
    case("flatten.one", [U([2, 3, 4, 2])], lambda x: x.flatten(1))
    case("permute.matrix", [U([3, 4])], lambda x: x.permute(1, 0))
    case("permute.identity", [U([2, 3])], lambda x: x.permute(0, 1))
    case("permute.cycle", [U([2, 3, 4])], lambda x: x.permute(2, 0, 1))
    case("permute.nhwc_to_nchw", [U([2, 3, 5, 4])], lambda x: x.permute(0, 3, 1, 2))
    case("permute.ones", [U([1, 3, 1, 2])], lambda x: x.permute(3, 2, 1, 0))
    case("permute.empty", [U([2, 0, 3])], lambda x: x.permute(2, 1, 0))
    case("transpose.matrix", [U([5, 7])], lambda x: x.transpose(-2, -1))
    case("transpose.axes", [U([2, 3, 4])], lambda x: x.transpose(0, 2))
    case("broadcast_to.row", [U([4])], lambda x: x.broadcast_to(3, 4))
    case("broadcast_to.column", [U([3, 1])], lambda x: x.broadcast_to(3, 4))
    case("broadcast_to.scalar", [U([])], lambda x: x.broadcast_to(2, 3))
    case("broadcast_to.middle", [U([2, 1, 3])], lambda x: x.broadcast_to(5, 2, 4, 3))
    case("broadcast_to.same", [U([2, 3])], lambda x: x.broadcast_to(2, 3))
    case("broadcast_to.empty", [U([1, 3])], lambda x: x.broadcast_to(0, 3))
    case("concat.axis0", [U([2, 3]), U([1, 3])], lambda a, b: torch.cat([a, b], 0))
    case("concat.axis1", [U([2, 3]), U([2, 1]), U([2, 2])], lambda a, b, c: torch.cat([a, b, c], 1))
    case("concat.last", [U([2, 2, 3]), U([2, 2, 5])], lambda a, b: torch.cat([a, b], -1))
    case("concat.one", [U([2, 3])], lambda a: torch.cat([a], 0))
    case("concat.twice", [U([2, 3])], lambda a: torch.cat([a, a], 1))
    case("concat.empty_part", [U([0, 3]), U([2, 3])], lambda a, b: torch.cat([a, b], 0))
    case("slice.rows", [U([5, 3])], lambda x: x[1:4])
    case("slice.columns", [U([3, 5])], lambda x: x[:, 2:5])
    case("slice.middle", [U([2, 4, 3])], lambda x: x[:, 1:2])
    case("slice.last", [U([2, 3, 4])], lambda x: x[..., 0:3])
    case("slice.whole", [U([3, 2])], lambda x: x[0:3])
    case("slice.nothing", [U([3, 2])], lambda x: x[2:2])
    case("gather_rows.matrix", [U([4, 3])], lambda x: x[torch.tensor([3, 0, 3, 1, 3])])
    case("gather_rows.vector", [U([6])], lambda x: x[torch.tensor([5, 5, 0])])
    case("gather_rows.cube", [U([3, 2, 2])], lambda x: x[torch.tensor([1])])
    case("gather_rows.nothing", [U([3, 2])], lambda x: x[torch.zeros(0, dtype=torch.int64)])


def reduction_cases():
    def axes_of(x, axes):
        return list(axes) if axes else list(range(x.dim()))

    functions = {
        "sum": lambda x, axes, keep: torch.sum(x, axes_of(x, axes), keep),
        "mean": lambda x, axes, keep: torch.mean(x, axes_of(x, axes), keep),
        "variance": lambda x, axes, keep: torch.var(x, axes_of(x, axes), correction=1, keepdim=keep),
        "max": lambda x, axes, keep: torch.amax(x, axes_of(x, axes), keep),
    }
    axis_sets = [(), (0,), (1,), (2,), (-1,), (0, 1), (1, 2), (0, 2), (0, 1, 2), (2, 0)]
    for (name, f), axes in itertools.product(functions.items(), axis_sets):
        kind = ranks if name == "max" else U
        suffix = "_".join(map(str, axes)) if axes else "all"
        case(f"{name}.axes_{suffix}", [kind([3, 4, 5])], lambda x, f=f, axes=axes: f(x, axes, False))
    for name, f in functions.items():
        kind = ranks if name == "max" else U
        case(f"{name}.keep_all", [kind([2, 3])], lambda x, f=f: f(x, (), True))
        case(f"{name}.keep_0", [kind([4, 3])], lambda x, f=f: f(x, (0,), True))
        case(f"{name}.keep_middle", [kind([2, 3, 4])], lambda x, f=f: f(x, (1,), True))
        case(f"{name}.keep_0_2", [kind([2, 3, 4])], lambda x, f=f: f(x, (0, 2), True))
        case(f"{name}.rank4_1_3", [kind([2, 3, 2, 5])], lambda x, f=f: f(x, (1, 3), False))
        case(f"{name}.rank4_0_1_2", [kind([2, 3, 2, 5])], lambda x, f=f: f(x, (0, 1, 2), False))
        case(f"{name}.long", [kind([1037])], lambda x, f=f: f(x, (), False))
        case(f"{name}.tall", [kind([301, 3])], lambda x, f=f: f(x, (0,), False))
        case(f"{name}.wide", [kind([3, 301])], lambda x, f=f: f(x, (1,), False))
        case(f"{name}.nothing_left", [kind([3, 0])], lambda x, f=f: f(x, (0,), False))
        if name != "variance":
            case(f"{name}.scalar", [kind([])], lambda x, f=f: f(x, (), False))
            case(f"{name}.one", [kind([1, 5, 1])], lambda x, f=f: f(x, (0, 2), False))
    case("sum.empty", [U([0, 3])], lambda x: x.sum(0))
    case("sum.empty_all", [U([0])], lambda x: x.sum())
    case("variance.biased", [U([4, 5])], lambda x: x.var(0, correction=0))
    case("variance.correction2", [U([4, 5])], lambda x: x.var(1, correction=2))
    case("variance.one_row_biased", [U([1, 5])], lambda x: x.var(0, correction=0))
    case("variance.offset", [U([40, 3], 1000, 1064)], lambda x: x.var(0, correction=1))


def matrix_cases():
    sizes = {
        "small": (3, 5, 4),
        "one": (1, 1, 1),
        "inner_one": (3, 4, 1),
        "dot": (1, 1, 6),
        "odd": (7, 9, 17),
        "wide": (2, 33, 3),
        "no_rows": (0, 3, 2),
        "no_inner": (2, 3, 0),
    }
    for (name, (m, n, k)), ta, tb in itertools.product(sizes.items(), (0, 1), (0, 1)):
        for batch in ([], [3]):
            a = batch + ([k, m] if ta else [m, k])
            b = batch + ([n, k] if tb else [k, n])

            def multiply(a, b, ta=ta, tb=tb):
                return torch.matmul(a.mT if ta else a, b.mT if tb else b)

            suffix = "nt"[ta] + "nt"[tb] + (".batched" if batch else "")
            case(f"matmul.{name}.{suffix}", [U(a), U(b)], multiply)
    case("matmul.no_batch", [U([0, 2, 3]), U([0, 3, 2])], torch.matmul)
    case("matmul.gram", [U([5, 3])], lambda x: x.mT @ x)

    sizes = {
        "one": ([1, 1], 1),
        "small": ([3, 4], 0.5),
        "odd": ([7, 5], 0.25),
        "more_than_a_warp": ([37, 8], 1),
        "batch": ([3, 5, 5], 1),
        "batch_of_one": ([1, 4, 2], 1),
        "no_batch": ([0, 4, 2], 1),
    }
    for name, (shape, shift) in sizes.items():
        eye = shift * torch.eye(shape[-2])
        case(f"logdet.{name}", [U(shape)], lambda x, eye=eye: torch.logdet(x @ x.mT + eye))

    for name, shape in {"matrix": [3, 4], "cube": [2, 3, 4], "row": [1, 4], "empty": [0, 4]}.items():
        case(f"linear.{name}", [U(shape), U([5, 4]), U([5])], F.linear)
        case(f"linear.{name}.no_bias", [U(shape), U([5, 4])], F.linear)
    case("linear.one_output", [U([3, 4]), U([1, 4]), U([1])], F.linear)
    case("linear.one_input", [U([3, 1]), U([4, 1]), U([4])], F.linear)
    case("linear.odd", [U([7, 33]), U([17, 33]), U([17])], F.linear)


def nchw(x):
    return x.permute(0, 3, 1, 2).contiguous()


def nhwc(x):
    return x.permute(0, 2, 3, 1)


def conv_cases():
    def conv(name, input, weight, stride=1, padding=0, dilation=1, groups=1, bias=True):
        def function(x, w, b=None):
            return nhwc(F.conv2d(nchw(x), nchw(w), b, stride, padding, dilation, groups))

        inputs = [U(input), U(weight)] + ([U([weight[0]])] if bias else [])
        case(f"conv2d.{name}", inputs, function)

    conv("1x1", [2, 4, 3, 3], [5, 1, 1, 3])
    conv("1x1_stride2", [2, 5, 4, 3], [4, 1, 1, 3], stride=2, bias=False)
    conv("1x1_padded", [1, 3, 2, 2], [3, 1, 1, 2], padding=1)
    conv("3x3", [2, 5, 6, 3], [4, 3, 3, 3])
    conv("3x3_same", [2, 5, 4, 3], [4, 3, 3, 3], padding=1, bias=False)
    conv("3x3_padding2", [1, 4, 4, 2], [3, 3, 3, 2], padding=2)
    conv("3x3_stride2", [2, 6, 7, 3], [4, 3, 3, 3], stride=2, padding=1, bias=False)
    conv("3x3_stride2_even", [1, 8, 8, 2], [3, 3, 3, 2], stride=2, padding=1)
    conv("5x5", [1, 6, 5, 2], [3, 5, 5, 2], padding=2)
    conv("7x7_stride2", [1, 9, 8, 3], [2, 7, 7, 3], stride=2, padding=3, bias=False)
    conv("2x2_stride2", [2, 4, 6, 2], [3, 2, 2, 2], stride=2)
    conv("2x2_stride3", [1, 8, 7, 2], [2, 2, 2, 2], stride=3)
    conv("2x2_remainder", [1, 5, 5, 2], [2, 2, 2, 2], stride=2, bias=False)
    conv("4x4_stride2", [1, 6, 7, 2], [3, 4, 4, 2], stride=2, padding=1)
    conv("tall", [1, 6, 4, 2], [3, 3, 1, 2], padding=(1, 0))
    conv("wide", [1, 4, 6, 2], [3, 1, 4, 2], padding=(0, 2), bias=False)
    conv("anisotropic", [1, 7, 9, 2], [3, 3, 2, 2], stride=(2, 3), padding=(0, 1), dilation=(1, 2))
    conv("dilation2", [1, 7, 6, 2], [3, 3, 3, 2], padding=2, dilation=2)
    conv("dilation3_stride2", [1, 9, 8, 2], [2, 3, 3, 2], stride=2, padding=1, dilation=(3, 2))
    conv("groups2", [2, 4, 4, 4], [6, 3, 3, 2], padding=1, groups=2)
    conv("groups3_1x1", [1, 3, 4, 6], [3, 1, 1, 2], groups=3, bias=False)
    conv("groups2_stride2_dilation2", [1, 7, 7, 4], [4, 3, 3, 2], 2, 2, 2, 2)
    conv("depthwise", [2, 5, 4, 5], [5, 3, 3, 1], padding=1, groups=5)
    conv("depthwise_multiplier2", [1, 4, 4, 3], [6, 3, 3, 1], stride=2, padding=1, groups=3)
    conv("whole_image", [3, 4, 5, 2], [4, 4, 5, 2])
    conv("one_pixel", [2, 1, 1, 3], [4, 3, 3, 3], padding=1)
    conv("one_channel", [2, 5, 5, 1], [1, 3, 3, 1], padding=1)
    conv("odd_channels", [1, 3, 4, 17], [19, 3, 3, 17], padding=1)
    conv("padding_only_windows", [1, 2, 2, 1], [2, 2, 2, 1], stride=2, padding=2)
    conv("empty", [0, 4, 4, 2], [3, 3, 3, 2], padding=1)


def pool_cases():
    geometries = {
        "2x2": ([2, 4, 6, 3], dict(kernel_size=2, stride=2)),
        "2x2_remainder": ([1, 5, 7, 2], dict(kernel_size=2, stride=2)),
        "3x3_stride2": ([2, 7, 8, 3], dict(kernel_size=3, stride=2, padding=1)),
        "3x3_stride1": ([1, 4, 5, 2], dict(kernel_size=3, stride=1, padding=1)),
        "rectangle": ([1, 6, 7, 2], dict(kernel_size=(2, 3), stride=(2, 1), padding=(1, 0))),
        "gaps": ([1, 7, 7, 2], dict(kernel_size=2, stride=3)),
        "whole": ([2, 3, 4, 3], dict(kernel_size=(3, 4), stride=1)),
        "1x1": ([1, 3, 2, 2], dict(kernel_size=1, stride=1)),
        "one_pixel": ([1, 1, 1, 5], dict(kernel_size=3, stride=1, padding=1)),
        "odd_channels": ([1, 4, 4, 17], dict(kernel_size=2, stride=2)),
        "empty": ([0, 4, 4, 2], dict(kernel_size=2, stride=2)),
    }
    for name, (shape, options) in geometries.items():

        def pool(f, **options):
            return lambda x: nhwc(f(nchw(x), **options))

        case(f"max_pool2d.{name}", [ranks(shape)], pool(F.max_pool2d, **options))
        case(f"avg_pool2d.{name}", [U(shape)], pool(F.avg_pool2d, **options))
        without = pool(F.avg_pool2d, count_include_pad=False, **options)
        case(f"avg_pool2d.{name}.without_padding", [U(shape)], without)
    for name, shape in {"image": [2, 4, 5, 3], "one_pixel": [2, 1, 1, 3], "odd": [1, 7, 1, 17]}.items():
        case(f"global_avg_pool2d.{name}", [U(shape)], lambda x: x.mean((1, 2)))


def normalisation_cases():
    def channels_second(x):
        return x.movedim(-1, 1) if x.dim() > 2 else x

    def channels_last(x):
        return x.movedim(1, -1) if x.dim() > 2 else x

    def batch_norm(x, gamma, beta, mean, variance, training, eps):
        y = F.batch_norm(channels_second(x), mean, variance, gamma, beta, training, 0.1, eps)
        return channels_last(y)

    shapes = {
        "matrix": [4, 3],
        "image": [2, 3, 3, 5],
        "cube": [3, 4, 2],
        "one_channel": [7, 1],
        "two_rows": [2, 3],
        "odd": [5, 17],
        "long": [65, 2],
    }
    for name, shape in shapes.items():
        c = shape[-1]
        bound = 0.01 if name == "two_rows" else 1
        inputs = [U(shape, -bound, bound), U([c], 0.5, 1.5), U([c])]
        for suffix, eps in {"": 1e-5, ".eps": 0.1}.items():

            def train(x, gamma, beta, eps=eps):
                return batch_norm(x, gamma, beta, None, None, True, eps)

            def eval(x, gamma, beta, eps=eps):
                k = torch.arange(x.shape[-1], dtype=x.dtype)
                mean, variance = 0.25 - 0.125 * k, 0.5 + 0.25 * k
                return batch_norm(x, gamma, beta, mean, variance, False, eps)

            case(f"batch_norm.train.{name}{suffix}", inputs, train)
            case(f"batch_norm.eval.{name}{suffix}", inputs, eval)
            if suffix:
                continue
            for mode, function in {"train": train, "eval": eval}.items():

                def relu(x, gamma, beta, function=function):
                    return torch.relu(function(x, gamma, beta))

                def add_relu(x, gamma, beta, residual, function=function):
                    return torch.relu(function(x, gamma, beta) + residual)

                case(f"batch_norm_relu.{mode}.{name}", inputs, relu)
                case(f"batch_norm_relu.{mode}.{name}.add", inputs + [U(shape)], add_relu)
    case(
        "batch_norm.train.offset",
        [U([8, 3], 10, 12), U([3], 0.5, 1.5), U([3])],
        lambda x, gamma, beta: batch_norm(x, gamma, beta, None, None, True, 1e-5),
    )

    def conv_stride2(x, w):
        return nhwc(F.conv2d(nchw(x), nchw(w), stride=2, padding=1))

    case("conv2d_with_statistics.3x3_stride2", [U([2, 5, 6, 2]), U([3, 3, 3, 2])], conv_stride2)

    for name, n in {"empty": 0, "one": 1, "two": 2, "five": 5, "eight": 8, "odd": 37}.items():
        case(
            f"off_diagonal_square_sum.{name}",
            [U([n, n])],
            lambda x: x.square().sum() - x.diagonal().square().sum(),
        )

    shapes = {
        "vector": U([5]),
        "matrix": U([3, 4], -3, 3),
        "cube": U([2, 3, 4]),
        "one": U([3, 1]),
        "odd": U([2, 37]),
        "large": U([3, 37], 990, 1010),
        "wide_range": U([4, 37], -100, 100),
        "empty": U([0, 3]),
    }
    for name, input in shapes.items():
        case(f"softmax.{name}", [input], lambda x: F.softmax(x, -1))
        case(f"log_softmax.{name}", [input], lambda x: F.log_softmax(x, -1))


def vicreg_terms(x, y, eps):
    """Invariance, variance and covariance term, as in the authors' program but summed over views."""
    n, d = x.shape
    invariance = F.mse_loss(x, y)
    variance = covariance = 0
    for z in (x, y):
        z = z - z.mean(0)
        variance = variance + F.relu(1 - torch.sqrt(z.var(0) + eps)).mean()
        c = z.T @ z / (n - 1)
        off_diagonal = c[~torch.eye(d, dtype=torch.bool)]
        covariance = covariance + off_diagonal.pow(2).sum() / d
    return invariance, variance, covariance


def loss_cases():
    patterns = {
        "matrix": ([5, 4], 0.0),
        "one_row": ([1, 7], 0.0),
        "one_class": ([3, 1], 0.0),
        "smoothing": ([5, 4], 0.1),
        "odd": ([7, 37], 0.25),
    }
    for name, (shape, smoothing) in patterns.items():
        labels = 3 * torch.arange(shape[0]) % shape[1]

        def cross_entropy(x, labels=labels, smoothing=smoothing):
            return F.cross_entropy(x, labels, label_smoothing=smoothing)

        def losses(x, labels=labels, smoothing=smoothing):
            return F.cross_entropy(x, labels, label_smoothing=smoothing, reduction="none")

        case(f"cross_entropy.{name}", [U(shape, -3, 3)], cross_entropy)
        case(f"softmax_cross_entropy.{name}", [U(shape, -3, 3)], losses)
    case("mse_loss.matrix", [U([3, 5]), U([3, 5])], F.mse_loss)

    patterns = {
        "below_hinge": (6, 4, 1),
        "around_hinge": (9, 5, 1.75),
        "above_hinge": (6, 3, 5),
        "two_images": (2, 3, 1),
        "one_dimension": (5, 1, 1),
        "odd": (7, 37, 1),
    }
    weights = {"default": (25, 25, 1, 1e-4), "paper": (25, 12.5, 1, 1e-4), "seed": (25, 25, 1, 0)}
    for name, (n, d, bound) in patterns.items():
        inputs = [U([n, d], -bound, bound), U([n, d], -bound, bound)]
        for suffix, (inv, var, cov, eps) in weights.items():

            def total(x, y, inv=inv, var=var, cov=cov, eps=eps):
                terms = vicreg_terms(x, y, eps)
                return inv * terms[0] + var * terms[1] + cov * terms[2]

            case(f"vicreg_loss.{name}.{suffix}", inputs, total)
        case(f"vicreg_loss.{name}.terms", inputs, lambda x, y: torch.stack(vicreg_terms(x, y, 1e-4)))

    def terms_of_views(z):
        pairs = [vicreg_terms(x, y, 1e-4) for x, y in itertools.combinations(z, 2)]
        invariance, variance, covariance = (sum(terms) / len(pairs) for terms in zip(*pairs))
        return torch.stack([25 * invariance + 25 * variance + covariance, invariance, variance, covariance])

    for name, shape in {"two_views": [2, 6, 4], "five_views": [5, 7, 3], "wide": [3, 35, 70]}.items():
        case(f"vicreg_terms.{name}", [U(shape, -1.75, 1.75)], terms_of_views)

    def coding_rate_loss(z, views):
        z = F.normalize(z.reshape(views, -1, z.shape[1]), dim=2)
        n, d = z.shape[1:]
        similarity = F.cosine_similarity(z, z.mean(0, keepdim=True), dim=2).mean()
        rate = torch.logdet(torch.eye(d) + d / (n * 0.2) * z.mT @ z).mean() / 2
        return -200 * similarity - rate

    for name, (views, n, d) in {
        "more_dimensions": (3, 5, 9),
        "more_images": (4, 9, 5),
        "two_views": (2, 4, 4),
    }.items():
        case(f"coding_rate_loss.{name}", [U([views * n, d])],
             lambda z, views=views: coding_rate_loss(z, views))

    for name, p in {"half": 0.5, "tenth": 0.1, "none": 0.0}.items():
        keep = torch.tensor(unit_of_seed(42, 63) >= p).reshape(7, 9)
        case(f"dropout.{name}", [U([7, 9])], lambda x, keep=keep, p=p: x * keep / (1 - p))


def main():
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    for cases_of_a_family in (
        elementwise_cases,
        shape_cases,
        reduction_cases,
        matrix_cases,
        conv_cases,
        pool_cases,
        normalisation_cases,
        loss_cases,
    ):
        cases_of_a_family()
    tensors = {}
    for name, (specs, function) in cases.items():
        inputs = []
        for i, (kind, shape, *arguments) in enumerate(specs):
            values = kind(f"{name}/input{i}", shape, *arguments)
            inputs.append(torch.tensor(values).requires_grad_())
        output = function(*inputs)
        doutput = torch.tensor(uniform(f"{name}/doutput", list(output.shape), 0.5, 1.5))
        gradients = torch.autograd.grad(output, inputs, doutput)
        tensors[f"{name}/output"] = output.contiguous()
        for i, gradient in enumerate(gradients):
            tensors[f"{name}/dinput{i}"] = gradient.contiguous()
    save("ops.safetensors", tensors)
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main()
