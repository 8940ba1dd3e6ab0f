#!/usr/bin/env python3
"""Times VICReg training steps of PyTorch on a GPU in every way that is worth trying, in one process:
the counterpart of `step --device cuda`. Prints a JSON object a line, as each is done, so that what
was measured before a time limit counts. Needs torch and torchvision; nothing in the project needs it.

  pytorch_gpu_step.py --batch-size 256 [--steps 20] [--no-compile]
"""
import argparse
import json
import statistics
import sys

import torch

from pytorch_vicreg import VICReg, vicreg_loss


def make_step(batch_size, bf16, compiled, capturable):
    """A function that makes one training step on random images, channels last."""
    torch.manual_seed(0)
    model = VICReg().cuda().to(memory_format=torch.channels_last).train()
    images = torch.randn(2 * batch_size, 3, 32, 32, device="cuda").to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), 2e-4, weight_decay=1e-6, fused=True,
                                 capturable=capturable)

    def loss_of(x):
        with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
            z = model(x)
        z = z.float()
        return vicreg_loss(z[:batch_size], z[batch_size:])[0]

    if compiled:
        loss_of = torch.compile(loss_of, mode="reduce-overhead")

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss_of(images).backward()
        optimizer.step()

    return step


def as_graph(step):
    """The step as one CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def seconds_of(step, steps):
    """Median seconds of a step, by events; the GPU never waits for the host to see them."""
    for _ in range(5):
        step()
    torch.cuda.synchronize()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(steps + 1)]
    events[0].record()
    for event in events[1:]:
        step()
        event.record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in zip(events, events[1:])) / 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--batch-size", type=int, default=256, help="images, each in two views")
    parser.add_argument("--steps", type=int, default=20, help="steps timed, after five")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("pytorch_gpu_step: error: PyTorch sees no GPU")
    torch.backends.cudnn.benchmark = True
    print(json.dumps({"torch": torch.__version__, "cudnn": torch.backends.cudnn.version(),
                      "gpu": torch.cuda.get_device_name()}), flush=True)
    # The fastest ways of the fastest precisions first: a time limit may end this.
    jobs = [("graph", "bf16"), ("compiled", "bf16"), ("compiled", "tf32"), ("graph", "fp32"), ("compiled", "fp32"),
            ("graph", "tf32"), ("eager", "bf16"), ("eager", "tf32"), ("eager", "fp32")]
    for way, precision in jobs:
        if way != "compiled" or not args.no_compile:
            tf32 = precision == "tf32"
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
            record = {"precision": precision, "way": way, "batch": args.batch_size}
            try:
                step = make_step(args.batch_size, precision == "bf16", way == "compiled", way == "graph")
                record["seconds"] = seconds_of(as_graph(step) if way == "graph" else step, args.steps)
            except Exception as error:  # one way that fails must not hide the others
                record["error"] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            print(json.dumps(record), flush=True)
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
