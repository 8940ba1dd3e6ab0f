#!/usr/bin/env python3
"""The same job in PyTorch, to compare with: VICReg pre-training of a ResNet-18, then a linear
classifier on cached features. Needs torch, torchvision and numpy; nothing in the project needs it.

  pytorch_vicreg.py --data DIR --limit 5000 --epochs 2     trains, then evaluates
  pytorch_vicreg.py --step-time --batch-size 64            times training steps on random images
  pytorch_vicreg.py --step-time --forward --batch-size 256      the encoder's evaluation alone
"""
import argparse
import json
import sys
import resource
import time

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torchvision import transforms as T

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class VICReg(nn.Module):
    def __init__(self, widths=(1024, 1024, 1024, 1024)):
        super().__init__()
        self.encoder = torchvision.models.resnet18()
        self.encoder.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.encoder.maxpool = nn.Identity()
        self.encoder.fc = nn.Identity()
        layers, features = [], 512
        for i, width in enumerate(widths):
            layers.append(nn.Linear(features, width))
            if i + 1 < len(widths):
                layers += [nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
            features = width
        self.projector = nn.Module()
        self.projector.network = nn.Sequential(*layers)

    def forward(self, x):
        return self.projector.network(self.encoder(x))


def vicreg_loss(x, y, eps=1e-4):
    n, d = x.shape
    invariance = F.mse_loss(x, y)
    x, y = x - x.mean(0), y - y.mean(0)
    variance = sum(F.relu(1 - torch.sqrt(z.var(0) + eps)).mean() for z in (x, y))
    covariance = 0
    for z in (x, y):
        c = z.T @ z / (n - 1)
        covariance = covariance + (c.pow(2).sum() - c.diagonal().pow(2).sum()) / d
    return 25 * invariance + 25 * variance + covariance, invariance, variance, covariance


def load(folder, names):
    data = np.concatenate([np.fromfile(f"{folder}/{n}.bin", np.uint8).reshape(-1, 3073) for n in names])
    images = torch.from_numpy(data[:, 1:].reshape(-1, 3, 32, 32).copy())
    return images, torch.from_numpy(data[:, 0].astype(np.int64))


class TwoViews(torch.utils.data.Dataset):
    def __init__(self, images):
        self.images = images
        self.transform = T.Compose([
            T.RandomResizedCrop(32, (0.2, 1.0)), T.RandomHorizontalFlip(0.5),
            T.RandomApply([T.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8), T.RandomGrayscale(0.2),
            T.RandomApply([T.GaussianBlur(3)], 0.5), T.RandomSolarize(0.5, 0.2),
            T.Normalize(MEAN, STD)])

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image = self.images[i].float() / 255
        return self.transform(image), self.transform(image)


def adam(model, lr):
    """Fused where this version has that on a CPU, as from 2.4 on."""
    for options in ({"fused": True}, {}):
        try:
            return torch.optim.Adam(model.parameters(), lr, weight_decay=1e-6, **options)
        except (RuntimeError, TypeError):
            if not options:
                raise


@torch.no_grad()
def features(model, images):
    model.eval()
    normalize = T.Normalize(MEAN, STD)
    return torch.cat([model.encoder(normalize(b.float() / 255)) for b in images.split(128)])


def linear(model, train, test, args):
    """SGD, cosine over 100 epochs, batch 256, on cached features: top-1."""
    x, labels = features(model, train[0]), train[1]
    torch.manual_seed(0)
    head = nn.Linear(512, 10)
    optimizer = torch.optim.SGD(head.parameters(), args.linear_lr, args.linear_momentum,
                                weight_decay=1e-6)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    for _ in range(100):
        for batch in torch.randperm(len(x)).split(256):
            optimizer.zero_grad()
            F.cross_entropy(head(x[batch]), labels[batch]).backward()
            optimizer.step()
        schedule.step()
    with torch.no_grad():
        return (head(features(model, test[0])).argmax(1) == test[1]).float().mean().item()


def peak_resident():
    """Bytes, until now."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def step_time(args):
    imported = peak_resident()
    model = VICReg()
    views = 1 if args.forward else 2
    images = torch.randn(views * args.batch_size, 3, 32, 32)
    if args.channels_last:
        model, images = (v.to(memory_format=torch.channels_last) for v in (model, images))
    optimizer = adam(model, 2e-4)

    def forward():
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            z = model(images)
        z = z.float()
        return vicreg_loss(z[: args.batch_size], z[args.batch_size:])[0]

    def train():
        optimizer.zero_grad()
        forward().backward()
        optimizer.step()

    @torch.inference_mode()
    def evaluate():
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            model.encoder(images)

    model.train(not args.forward)
    if args.compile:
        forward = torch.compile(forward, mode=args.compile)
    times = []
    for _ in range(1 + args.steps):
        begin = time.perf_counter()
        evaluate() if args.forward else train()
        times.append(time.perf_counter() - begin)
    times = times[1:]
    if args.json:
        return print(json.dumps({"seconds": np.median(times), "least_seconds": min(times),
                                 "peak_resident": peak_resident(), "imported": imported}))
    print(f"torch {torch.__version__}, batch {args.batch_size}, {torch.get_num_threads()} threads, "
          f"channels_last {args.channels_last}, bf16 {args.bf16}, compile "
          f"{args.compile}: median {'evaluation' if args.forward else 'step'} "
          f"{np.median(times):.4f} s (least {min(times):.4f})")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data")
    parser.add_argument("--limit", type=int, default=5000)
    parser.add_argument("--test-limit", type=int, default=10000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--cosine", action="store_true")
    parser.add_argument("--linear-lr", type=float, default=0.02)
    parser.add_argument("--linear-momentum", type=float, default=0.9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--step-time", action="store_true")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--steps", type=int, default=5, help="of --step-time, after the first")
    parser.add_argument("--forward", action="store_true",
                        help="of --step-time: the encoder's evaluation, one view of each image")
    parser.add_argument("--json", action="store_true", help="of --step-time: the figures as JSON")
    parser.add_argument("--bf16", action="store_true", help="of --step-time: autocast")
    parser.add_argument("--compile", help="of --step-time: torch.compile's mode")
    parser.error = lambda message: sys.exit(f"pytorch_vicreg: error: {message}")
    args = parser.parse_args()
    if args.forward and args.compile:
        parser.error("--compile is of training steps, not of --forward")
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    if args.step_time:
        return step_time(args)

    train = load(args.data, [f"data_batch_{i}" for i in range(1, 6)])
    train = train[0][: args.limit], train[1][: args.limit]
    test = tuple(t[: args.test_limit] for t in load(args.data, ["test_batch"]))
    model = VICReg()
    print(f"untrained: linear top-1 {100 * linear(model, train, test, args):.2f} %", flush=True)
    loader = torch.utils.data.DataLoader(TwoViews(train[0]), args.batch_size, shuffle=True,
                                         drop_last=True, num_workers=2)
    optimizer = adam(model, args.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs * len(loader))
    begin, step = time.perf_counter(), 0
    for epoch in range(args.epochs):
        model.train()
        for x, y in loader:
            z = model(torch.cat([x, y]))
            loss, *terms = vicreg_loss(z[: len(x)], z[len(x):])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if args.cosine:
                schedule.step()
            step += 1
            if step % 5 == 1:
                print(f"step {step}: loss {loss.item():.4f}, terms "
                      + " ".join(f"{t.item():.4f}" for t in terms)
                      + f", {time.perf_counter() - begin:.0f} s", flush=True)
    print(f"last loss {loss.item():.4f}; {step} steps in {time.perf_counter() - begin:.0f} s")
    print(f"trained: linear top-1 {100 * linear(model, train, test, args):.2f} %")


if __name__ == "__main__":
    main()
