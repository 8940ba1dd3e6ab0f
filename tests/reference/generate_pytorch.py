#!/usr/bin/env python3
"""Files of torch.save, and what PyTorch makes of one -> *.pt, pytorch_checkpoint.safetensors.

`values_<version>.pt` holds one of everything that is read (tests/tensor/pytorch.cpp spells it out).
`pytorch_checkpoint.pt` is the checkpoint of a program that trains torchvision's ResNet-18 with an unpadded,
biased stem and a linear layer at the encoder's end, at 2 channels instead of 64; then in pytorch_checkpoint.safetensors
  losses     [3]: of the next three steps from that file, on images/continued/view{0,1} (common.py)
  features   [N, F]: of view 0 by the encoder of the file in eval mode

Run as `generate_pytorch.py values`, by each PyTorch whose format is to be tested, or `generate_pytorch.py checkpoint`.
"""

import sys
from collections import OrderedDict

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from common import FOLDER, save
from generate_model import Model, loss_terms, views

COUNT, SIZE = 8, 16


def values():
    base = torch.arange(24, dtype=torch.float32)
    types = [torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8]
    return {
        "number": 7,
        "negative": -(2**40),
        "real": 0.25,
        "yes": True,
        "nothing": None,
        "text": "größer",
        "tuple": (1, (2.5, "x")),
        "list": [1, 2, [3]],
        "size": torch.Size([2, 3]),
        5: {"integer key": 70000},
        "empty": {},
        "types": {str(t).removeprefix("torch."): torch.tensor([1, 2, 100], dtype=t) for t in types},
        "bool": torch.tensor([True, False]),
        "half": torch.tensor([6e-8, 65504, float("-inf"), -0.0, 0.333], dtype=torch.float16),
        "parameter": nn.Parameter(torch.tensor([[1.0, -2.0]])),
        "scalar": torch.tensor(3.5),
        "no elements": torch.zeros(0, 3),
        "base": base,
        "view": base[4:10].reshape(2, 3),
        "transposed": base.reshape(4, 6).t(),
        "strided": base[1::5],
        "expanded": torch.tensor([4.0]).expand(2, 3),
        "channels_last": base.reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
        "state": OrderedDict(nn.Linear(2, 1).state_dict(), bias=torch.tensor([9.0])),
        "module": nn.BatchNorm1d(2).state_dict(),
    }


def small_encoder(width, features):
    """torchvision's ResNet-18 with `width` channels in the first stage, and the stem as said above."""
    encoder = ResNet(BasicBlock, [2, 2, 2, 2], num_classes=features)
    encoder.inplanes = width
    encoder.conv1 = nn.Conv2d(3, width, 3)
    encoder.bn1 = nn.BatchNorm2d(width)
    encoder.maxpool = nn.Identity()
    for stage in range(4):
        layer = encoder._make_layer(BasicBlock, width << stage, 2, stride=1 if stage == 0 else 2)
        setattr(encoder, f"layer{stage + 1}", layer)
    encoder.fc = nn.Linear(8 * width, features)
    return encoder


def steps(model, optimizer, images, count):
    losses = []
    for _ in range(count):
        loss = loss_terms(model(images), eps=0.0)[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def checkpoint(file="pytorch_checkpoint", width=2, features=16, widths=(8, 8, 8, 8)):
    torch.manual_seed(0)
    model = Model(small_encoder(width, features), features, list(widths))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4, weight_decay=1e-6)
    images = views("continued", COUNT, SIZE, torch.float32)
    before = steps(model, optimizer, images, 6)
    path = FOLDER / f"{file}.pt"
    state = {
        "epoch": 2,
        "encoder_dim": features,
        "projector_dim": widths[0],
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
    }
    torch.save(state, path)
    model.eval()
    with torch.no_grad():
        outputs = model.encoder(images[:COUNT])
    model.train()
    losses = steps(model, optimizer, images, 3)
    save(f"{file}.safetensors", {"losses": losses, "features": outputs})
    print(f"{path}: {path.stat().st_size} bytes, torch {torch.__version__}; losses {before.tolist()} {losses.tolist()}")


def main():
    if sys.argv[1:] == ["values"]:
        version = ".".join(torch.__version__.split(".")[:2])
        for protocol in (2, 5):
            path = FOLDER / f"values_{version}_protocol{protocol}.pt"
            torch.save(values(), path, pickle_protocol=protocol)
            print(f"{path}: {path.stat().st_size} bytes")
        if version == "1.13":
            legacy = {"weight": torch.ones(2)}
            torch.save(legacy, FOLDER / "values_legacy.pt", _use_new_zipfile_serialization=False)
    else:
        checkpoint()


if __name__ == "__main__":
    main()
