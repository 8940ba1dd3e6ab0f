#!/usr/bin/env python3
"""Trajectories of the optimisers, learning rate schedules and gradient clipping -> optim.safetensors.

PyTorch's own classes where it has them; LARS, Muon (whose steps PyTorch does not make relative) and
the warm-up schedules from their formulas. `orthogonal/<name>`: Muon's direction by SVD.
Parameters start at named numbers and get the gradients g = p / 2 + noise_t; the learning rate of
step t is lr (1 + t / 10). `<optimizer>/<parameter>` holds the values after each of 10 steps.
"""

import math

import numpy as np
import torch

from common import save, uniform

STEPS = 10
SHAPES = {"weight": [3, 4], "conv": [2, 3, 3, 2], "bias": [5], "scale": [1], "zero": [2, 2]}


def start(name):
    """A parameter's first value; `zero` has norm 0, where LARS makes exceptions."""
    return torch.tensor(uniform(f"optim/{name}", SHAPES[name]) * (name != "zero"))


def gradient(name, step, value):
    return value / 2 + torch.tensor(uniform(f"optim/{name}/noise{step}", SHAPES[name]))


class Lars:
    """LARS of VICReg's own program ("decayed_gradient") and of solo-learn ("separate_norms").

    Neither decay nor adaptation for parameters of one axis.
    """

    def __init__(self, parameters, lr, form, weight_decay, momentum, trust, clip=False):
        self.param_groups = [{"params": list(parameters), "lr": lr}]
        self.form, self.weight_decay, self.momentum = form, weight_decay, momentum
        self.trust, self.clip = trust, clip
        self.buffers = [torch.zeros_like(p) for p in parameters]

    def step(self):
        lr = self.param_groups[0]["lr"]
        with torch.no_grad():
            for p, buffer in zip(self.param_groups[0]["params"], self.buffers):
                d = p.grad.clone()
                if p.ndim > 1 and self.form == "decayed_gradient":
                    d = d + self.weight_decay * p
                    if p.norm() > 0 and d.norm() > 0:
                        d = d * (self.trust * p.norm() / d.norm())
                elif p.ndim > 1 and p.norm() > 0 and d.norm() > 0:
                    norms = d.norm() + self.weight_decay * p.norm() + 1e-8
                    ratio = self.trust * p.norm() / norms
                    if self.clip:
                        ratio = min(ratio / lr, 1)
                    d = ratio * (d + self.weight_decay * p)
                buffer.mul_(self.momentum).add_(d)
                p.sub_(lr * buffer)


def orthogonal(x, iterations):
    """x with the singular values that Muon's polynomial makes of them."""
    u, s, v = torch.linalg.svd(x.flatten(1) if x.ndim > 1 else x[:, None], full_matrices=False)
    s = s / (s**4).sum() ** 0.25
    for _ in range(iterations):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return (u @ torch.diag(s) @ v).reshape(x.shape)


class Muon:
    """Momentum, orthogonalised for convolutions, in steps relative to the parameter as LARS's.

    Neither decay nor adaptation for parameters of one axis.
    """

    def __init__(self, parameters, lr, weight_decay, momentum, nesterov, trust, iterations):
        self.param_groups = [{"params": list(parameters), "lr": lr}]
        self.weight_decay, self.momentum, self.nesterov = weight_decay, momentum, nesterov
        self.trust, self.iterations = trust, iterations
        self.buffers = [torch.zeros_like(p) for p in parameters]

    def step(self):
        lr = self.param_groups[0]["lr"]
        with torch.no_grad():
            for p, buffer in zip(self.param_groups[0]["params"], self.buffers):
                buffer.mul_(self.momentum).add_(p.grad)
                d = p.grad + self.momentum * buffer if self.nesterov else buffer.clone()
                if p.ndim > 1:
                    if p.ndim == 4:
                        d = orthogonal(d, self.iterations)
                    d = d + self.weight_decay * p
                    if p.norm() > 0 and d.norm() > 0:
                        d = d * (self.trust * p.norm() / d.norm())
                p.sub_(lr * d)


ORTHOGONAL = {  # shape, iterations
    "wide": ([5, 3, 3, 3], 3),
    "tall": ([23, 2, 3, 1], 4),
    "square": ([16, 16], 5),
    "row": ([1, 7], 3),
    "column": ([7, 1], 3),
    "one": ([1], 2),
}

OPTIMIZERS = {
    "sgd": (torch.optim.SGD, dict(lr=0.1)),
    "sgd_decay": (torch.optim.SGD, dict(lr=0.1, weight_decay=0.05)),
    "sgd_momentum": (torch.optim.SGD, dict(lr=0.1, momentum=0.9)),
    "sgd_momentum_decay": (torch.optim.SGD, dict(lr=0.1, momentum=0.8, weight_decay=0.05)),
    "sgd_nesterov": (torch.optim.SGD, dict(lr=0.1, momentum=0.9, weight_decay=0.02, nesterov=True)),
    "adam": (torch.optim.Adam, dict(lr=0.01)),
    "adam_decay": (torch.optim.Adam, dict(lr=0.01, weight_decay=0.1)),
    "adam_betas": (torch.optim.Adam, dict(lr=0.01, betas=(0.8, 0.95), eps=1e-3)),
    "adamw": (torch.optim.AdamW, dict(lr=0.01, weight_decay=0.1)),
    "lars_decayed_gradient": (
        Lars,
        dict(lr=2.0, form="decayed_gradient", weight_decay=0.1, momentum=0.9, trust=0.001),
    ),
    "lars_separate_norms": (
        Lars,
        dict(lr=0.1, form="separate_norms", weight_decay=0.1, momentum=0.9, trust=0.02),
    ),
    "lars_clipped": (
        Lars,
        dict(lr=0.03, form="separate_norms", weight_decay=0.1, momentum=0.9, trust=0.02, clip=True),
    ),
    "muon": (
        Muon,
        dict(lr=0.3, weight_decay=0.1, momentum=0.9, nesterov=False, trust=0.1, iterations=3),
    ),
    "muon_nesterov": (
        Muon,
        dict(lr=0.3, weight_decay=0.1, momentum=0.8, nesterov=True, trust=0.2, iterations=2),
    ),
}


def trajectories():
    tensors = {}
    for name, (optimizer_class, options) in OPTIMIZERS.items():
        parameters = {p: start(p).requires_grad_() for p in SHAPES}
        optimizer = optimizer_class(parameters.values(), **options)
        history = {p: [] for p in SHAPES}
        for step in range(STEPS):
            for p, value in parameters.items():
                value.grad = gradient(p, step, value.detach())
            optimizer.param_groups[0]["lr"] = options["lr"] * (1 + step / 10)
            optimizer.step()
            for p, value in parameters.items():
                history[p].append(value.detach().clone())
        for p, values in history.items():
            tensors[f"{name}/{p}"] = torch.stack(values)
    return tensors


def orthogonals():
    return {
        f"orthogonal/{name}": orthogonal(torch.tensor(uniform(f"orthogonal/{name}", shape)), n)
        for name, (shape, n) in ORTHOGONAL.items()
    }


def torch_schedule(scheduler_class, steps, lr, **options):
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], lr=lr)
    scheduler = scheduler_class(optimizer, **options)
    rates = []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return np.array(rates)


def vicreg_rate(step, base=0.4, warmup=10, total=50):
    if step < warmup:
        return base * step / warmup
    q = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
    return base * q + base * 0.001 * (1 - q)


def solo_learn_rate(step, lr=0.3, warmup=10, total=50, start=3e-5):
    if step < warmup:
        return start + step * (lr - start) / (warmup - 1)
    return 0.5 * lr * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def schedules():
    scheduler = torch.optim.lr_scheduler
    return {
        "schedule/multi_step": torch_schedule(
            scheduler.MultiStepLR, 50, 0.1, milestones=[20, 35], gamma=0.1
        ),
        "schedule/step": torch_schedule(scheduler.StepLR, 50, 0.2, step_size=15, gamma=0.5),
        "schedule/cosine": torch_schedule(
            scheduler.CosineAnnealingLR, 51, 0.1, T_max=50, eta_min=0.002
        ),
        "schedule/vicreg": np.array([vicreg_rate(t) for t in range(51)]),
        "schedule/solo_learn": np.array([solo_learn_rate(t) for t in range(51)]),
    }


def clipping():
    tensors = {}
    for name, max_norm in {"clip_small": 0.5, "clip_large": 100.0}.items():
        parameters = {p: start(p).requires_grad_() for p in SHAPES}
        for p, value in parameters.items():
            value.grad = gradient(p, 0, value.detach())
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), max_norm)
        tensors[f"{name}/norm"] = norm
        for p, value in parameters.items():
            tensors[f"{name}/{p}"] = value.grad
    return tensors


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    save(
        "optim.safetensors", {**trajectories(), **orthogonals(), **schedules(), **clipping()}
    )
