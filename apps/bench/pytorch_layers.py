#!/usr/bin/env python3
"""Times the convolutions of a CIFAR ResNet-18 in PyTorch, layer by layer: the counterpart of
conv.cpp, with the faster of both memory layouts for each. On a GPU a pass is a CUDA graph, as there.
One difference remains: with --bf16 PyTorch's weights are bfloat16, and so are their gradients; ours
are float32, and rounded in the pass. Needs torch and torchvision; nothing in the project needs it.

  pytorch_layers.py --batch 128 [--bf16] [--device cuda [--tf32]]
"""
import argparse
import json
import sys
import statistics
import time

import torch

from pytorch_gpu_step import as_graph

LAYERS = [  # name, image size, channels in and out, kernel, stride, count in the network
    ("stem 3x3", 32, 3, 64, 3, 1, 1), ("layer1 3x3", 32, 64, 64, 3, 1, 4),
    ("layer2 3x3 / 2", 32, 64, 128, 3, 2, 1), ("layer2 1x1 / 2", 32, 64, 128, 1, 2, 1),
    ("layer2 3x3", 16, 128, 128, 3, 1, 3), ("layer3 3x3 / 2", 16, 128, 256, 3, 2, 1),
    ("layer3 1x1 / 2", 16, 128, 256, 1, 2, 1), ("layer3 3x3", 8, 256, 256, 3, 1, 3),
    ("layer4 3x3 / 2", 8, 256, 512, 3, 2, 1), ("layer4 1x1 / 2", 8, 256, 512, 1, 2, 1),
    ("layer4 3x3", 4, 512, 512, 3, 1, 3)]


def median_seconds(function, repeats, device):
    """Of `repeats` calls, and of more until they take a tenth of a second in all; see timing.h. On a
    GPU a call is one of ten replays of a graph that follow each other."""
    calls = 1 if device == "cpu" else 10
    if device != "cpu":
        function = as_graph(function)
    times = []
    function()
    while len(times) < repeats or sum(times) < 0.1:
        if device != "cpu":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(calls):
            function()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return statistics.median(times) / calls


@torch.no_grad()
def measure(layer, memory_format, args):
    """Seconds of the three passes; the stem's images need no gradient."""
    _, size, channels, out, kernel, stride, _ = layer
    dtype = torch.bfloat16 if args.bf16 else torch.float32
    x, w = ((2 * torch.rand(shape, device=args.device) - 1).to(dtype, memory_format=memory_format)
            for shape in ((args.batch, channels, size, size), (out, channels, kernel, kernel)))
    padding = kernel // 2
    y = torch.conv2d(x, w, None, stride, padding)

    def backward(*mask):
        torch.ops.aten.convolution_backward(y, x, w, None, [stride] * 2, [padding] * 2, [1, 1],
                                            False, [0, 0], 1, [*mask, False])

    passes = {"forward": lambda: torch.conv2d(x, w, None, stride, padding)}
    if channels != 3:
        passes["backward_input"] = lambda: backward(True, False)
    passes["backward_weight"] = lambda: backward(False, True)
    return {name: median_seconds(function, args.repeats, args.device)
            for name, function in passes.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--batch", type=int, default=128, help="images")
    parser.add_argument("--repeats", type=int, default=5, help="calls timed, after a first one")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--tf32", action="store_true", help="on a GPU")
    parser.add_argument("--json", action="store_true", help="seconds as JSON, a line a layer, not a table")
    parser.error = lambda message: sys.exit(f"pytorch_layers: error: {message}")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = args.tf32
    for layer in LAYERS:
        nchw, nhwc = (measure(layer, layout, args)
                      for layout in (torch.contiguous_format, torch.channels_last))
        best = {name: min(nchw[name], nhwc[name]) for name in nchw}
        text = f"{layer[0]:16}" + "".join(f"  {k} {1e3 * v:.2f} ms" for k, v in best.items())
        record = {"layer": layer[0], "count": layer[-1], **best}
        print(json.dumps(record) if args.json else text, flush=True)


if __name__ == "__main__":
    main()
