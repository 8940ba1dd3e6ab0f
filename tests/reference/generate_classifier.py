#!/usr/bin/env python3
"""A classifier that flattens images, as PyTorch saves and computes it -> classifier.safetensors.

  net.<name>   the model's state_dict; its weights are named numbers (common.py)
  logits       [3, 5] of the images `images/classifier`, NHWC and drawn by that name, in evaluation
"""

import torch
from torch import nn

from common import save, uniform


def main():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * 3 * 2, 5),
    ).double()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.dim():
                low = 0.5 if name.startswith("1.") else -0.5  # variances are positive
                value.copy_(torch.tensor(uniform(f"classifier/{name}", list(value.shape), low, 1)))
    images = torch.tensor(uniform("images/classifier", [3, 6, 4, 3]))
    logits = model.eval()(images.permute(0, 3, 1, 2))
    tensors = {f"net.{name}": value for name, value in model.state_dict().items()}
    save("classifier.safetensors", {**tensors, "logits": logits})


if __name__ == "__main__":
    main()
