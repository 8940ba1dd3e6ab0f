#!/usr/bin/env python3
"""Whole networks in PyTorch and torchvision -> model.safetensors.

Weights and images are named numbers (common.py), in PyTorch's layouts, so only results are stored:
  <variant>/terms           [4]: loss, invariance, variance, covariance
  <variant>/embeddings      [2 N, D], of both views in one batch
  <variant>/gradient/<name>, <variant>/buffer/<name>
                            digests: Euclidean norm, then 8 elements at equal distances
  cifar/losses.<dtype>      [11]: before and after each of 10 steps of Adam
  cifar/parameter/<name>, cifar/features   after the 10 steps; features of view 0 in eval mode
and in the metadata the names and shapes of each variant's state_dict, and its parameter count.
"""

import torch
from torch import nn
from torchvision.models import resnet18

from common import save, uniform

STEPS = 10


class Model(nn.Module):
    def __init__(self, encoder, features, widths):
        super().__init__()
        layers = []
        for width in widths[:-1]:
            layers += [nn.Linear(features, width), nn.BatchNorm1d(width), nn.ReLU()]
            features = width
        self.encoder = encoder
        self.projector = nn.Module()
        self.projector.network = nn.Sequential(*layers, nn.Linear(features, widths[-1]))

    def forward(self, x):
        return self.projector.network(self.encoder(x))


def cifar():
    """The CIFAR stem: 3x3, padded, without a bias; no max-pooling, no fc."""
    encoder = resnet18()
    encoder.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    encoder.maxpool = nn.Identity()
    encoder.fc = nn.Identity()
    return Model(encoder, 512, [64, 64, 64])


def seed():
    """An unpadded stem with a bias, and a linear layer kept at the encoder's end."""
    encoder = resnet18(num_classes=512)
    encoder.conv1 = nn.Conv2d(3, 64, 3)
    encoder.maxpool = nn.Identity()
    return Model(encoder, 512, [1024, 1024, 1024, 1024])


def imagenet():
    """torchvision's own stem."""
    encoder = resnet18()
    encoder.fc = nn.Identity()
    return Model(encoder, 512, [64, 32])


# name: (model, images a view, image size, eps of the loss)
VARIANTS = {
    "cifar": (cifar, 16, 16, 1e-4),
    "seed": (seed, 4, 32, 0.0),
    "imagenet": (imagenet, 4, 64, 1e-4),
}


def initial_values(name, value):
    """Scales around 1, small shifts, linear layers as PyTorch starts them, convolutions at 32 times He
    et al.'s scale. Batch norm makes up for that, but a step of Adam is small against such weights: in
    float32 a few ReLUs open or close by rounding, and so a few signs in Adam's first steps are random.
    """
    shape = list(value.shape)
    if len(shape) > 1:
        bound = ((6144 if len(shape) == 4 else 1) / value[0].numel()) ** 0.5
        return uniform(f"model/{name}", shape, -bound, bound)
    if name.endswith("weight"):
        return uniform(f"model/{name}", shape, 0.75, 1.25)
    return uniform(f"model/{name}", shape, -0.1, 0.1)


def make(build, dtype):
    model = build().to(dtype)
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(torch.tensor(initial_values(name, value)))
    return model


def views(variant, count, size, dtype):
    """View k is `images/<variant>/view<k>`, NHWC; the model gets NCHW."""
    names = [f"images/{variant}/view{k}" for k in range(2)]
    images = [torch.tensor(uniform(name, [count, size, size, 3], -2, 2)) for name in names]
    return torch.cat(images).permute(0, 3, 1, 2).contiguous().to(dtype)


def loss_terms(z, eps):
    """Loss, invariance, variance and covariance term, the last two summed over both views."""
    x, y = z.chunk(2)
    n, d = x.shape
    invariance = (x - y).square().mean()
    variance = covariance = 0
    for view in (x, y):
        variance = variance + torch.relu(1 - torch.sqrt(view.var(0) + eps)).mean()
        c = torch.cov(view.T).reshape(d, d)
        covariance = covariance + (c.square().sum() - c.diagonal().square().sum()) / d
    return torch.stack([25 * invariance + 25 * variance + covariance, invariance, variance, covariance])


def digest(value):
    flat = value.detach().flatten().double()
    samples = flat[[i * flat.numel() // 8 for i in range(8)]]
    return torch.cat([flat.norm().reshape(1), samples])


def first_step(name, build, count, size, eps):
    model = make(build, torch.float64)
    z = model(views(name, count, size, torch.float64))
    terms = loss_terms(z, eps)
    terms[0].backward()
    tensors = {f"{name}/terms": terms, f"{name}/embeddings": z}
    for parameter, value in model.named_parameters():
        tensors[f"{name}/gradient/{parameter}"] = digest(value.grad)
    for buffer, value in model.named_buffers():
        if value.dim():
            tensors[f"{name}/buffer/{buffer}"] = digest(value)
    return tensors


def training(name, build, count, size, eps, dtype):
    model = make(build, dtype)
    images = views(name, count, size, dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4, weight_decay=1e-6)
    losses = []
    for _ in range(STEPS):
        loss = loss_terms(model(images), eps)[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    losses.append(loss_terms(model(images), eps)[0].detach())
    tensors = {f"{name}/losses.{str(dtype).removeprefix('torch.')}": torch.stack(losses)}
    if dtype == torch.float64:
        for parameter, value in model.named_parameters():
            tensors[f"{name}/parameter/{parameter}"] = digest(value)
        model.eval()
        tensors[f"{name}/features"] = model.encoder(images[:count])
    return tensors


def main():
    tensors, metadata = {}, {}
    for name, variant in VARIANTS.items():
        model = variant[0]()
        state = [f"{key} {list(value.shape)}" for key, value in model.state_dict().items()]
        metadata[f"{name}.state"] = "\n".join(state)
        metadata[f"{name}.parameters"] = str(sum(p.numel() for p in model.parameters()))
        tensors.update(first_step(name, *variant))
    for dtype in (torch.float64, torch.float32):
        tensors.update(training("cifar", *VARIANTS["cifar"], dtype))
    save("model.safetensors", tensors, metadata)
    print({name: count for name, count in metadata.items() if name.endswith("parameters")})
    for dtype in ("float64", "float32"):
        print(tensors[f"cifar/losses.{dtype}"].tolist())


if __name__ == "__main__":
    main()
