#!/usr/bin/env python3
"""Writes augment.json: torchvision's values (0.14, float tensors) for each augmentation step.

Usage: generate_augment.py > augment.json        (Debian: python3-torch, python3-torchvision)
"""
import json
import sys

import torch
import torchvision.transforms.functional as F
from torchvision.transforms import InterpolationMode

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
MODES = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}
JITTER = {
    "brightness": F.adjust_brightness,
    "contrast": F.adjust_contrast,
    "saturation": F.adjust_saturation,
    "hue": F.adjust_hue,
}


def random_image(height, width, seed):
    """uint8 [3, H, W]: noise, then the corners of the colour cube and greys (ties in hue)."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
    special = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0),
               (0, 255, 255), (255, 0, 255), (77, 77, 77), (200, 200, 10), (10, 200, 200),
               (200, 10, 200), (128, 127, 127), (127, 128, 127), (127, 127, 128), (1, 0, 0)]
    for i, colour in enumerate(special[: height * width // 4]):
        image[:, i // width, i % width] = torch.tensor(colour, dtype=torch.uint8)
    return image


def unit(image):
    return image.float().div(255)


def values(image):
    """Planes [3, H, W], flattened."""
    return [float(f"{v:.7g}") for v in image.contiguous().flatten().tolist()]


def pixels(image):
    """Interleaved [H, W, 3], flattened."""
    return image.permute(1, 2, 0).flatten().tolist()


def resized_crop(image, box, size, mode, flip):
    out = F.resized_crop(unit(image), *box, [size, size], MODES[mode])
    if mode == "bicubic":
        out = out.clamp(0, 1)  # images saturate; torchvision's float path leaves the overshoot
    return F.hflip(out) if flip else out


def resize_cases(image):
    height, width = image.shape[1:]
    boxes = [((0, 0, height, width), 8), ((0, 0, height, width), 16), ((2, 1, 7, 5), 7),
             ((3, 4, 4, 5), 9), ((height - 1, width - 1, 1, 1), 3), ((0, 3, height, 2), 5),
             ((5, 0, 1, width), 4), ((1, 1, 8, 8), 8), ((1, 2, 6, 6), 1)]
    for mode in MODES:
        for i, (box, size) in enumerate(boxes):
            flip = i % 2 == 1
            yield {"box": box, "size": size, "interpolation": mode, "flip": flip,
                   "values": values(resized_crop(image, box, size, mode, flip))}


def colour_cases(image):
    x = unit(image)
    for step, factors in {"brightness": [0, 0.6, 1.0, 1.4], "contrast": [0, 0.63, 1.37],
                          "saturation": [0, 0.8, 1.2],
                          "hue": [-0.5, -0.31, -0.1, 0.0, 0.04, 0.1, 0.5]}.items():
        for factor in factors:
            yield {"step": step, "factor": factor, "values": values(JITTER[step](x, factor))}
    yield {"step": "grayscale", "factor": 0, "values": values(F.rgb_to_grayscale(x, 3))}
    for threshold in [0.5, 0.2, 0.0, 1.0]:
        yield {"step": "solarize", "factor": threshold, "values": values(F.solarize(x, threshold))}
    yield {"step": "normalize", "factor": 0, "values": values(F.normalize(x, MEAN, STD))}


def blur_cases(image):
    for size in [2, 3, 7, 9]:
        for sigma in [0.1, 0.5, 2.0]:
            x = unit(image)[:, :size, :size]
            yield {"size": size, "sigma": sigma,
                   "values": values(F.gaussian_blur(x, [3, 3], [sigma, sigma]))}


def full_case(image, **p):
    x = resized_crop(image, p["box"], 32, p["interpolation"], p["flip"])
    for step in p["order"] if p["jitter"] else []:
        x = JITTER[step](x, p[step])
    if p["grayscale"]:
        x = F.rgb_to_grayscale(x, 3)
    if p["blur"]:
        x = F.gaussian_blur(x, [3, 3], [p["sigma"], p["sigma"]])
    if p["solarize"]:
        x = F.solarize(x, 0.5)
    x = F.normalize(x, MEAN, STD)
    return {**p, "values": [float(f"{v:.5g}") for v in x.permute(1, 2, 0).flatten().tolist()]}


def full_cases(image):
    factors = {"brightness": 0.71, "contrast": 1.28, "saturation": 0.83, "hue": -0.07}
    yield full_case(image, box=(5, 3, 19, 24), interpolation="bilinear", flip=True, jitter=True,
                    order=["hue", "contrast", "brightness", "saturation"], grayscale=False,
                    blur=True, sigma=1.3, solarize=True, **factors)
    yield full_case(image, box=(9, 12, 17, 14), interpolation="bicubic", flip=False, jitter=True,
                    order=["saturation", "brightness", "hue", "contrast"], grayscale=False,
                    blur=False, sigma=1.0, solarize=False, **factors)
    yield full_case(image, box=(0, 0, 32, 32), interpolation="bilinear", flip=False, jitter=False,
                    order=["brightness", "contrast", "saturation", "hue"], grayscale=True,
                    blur=True, sigma=0.4, solarize=True, **factors)


def entry(image, cases):
    return {"height": image.shape[1], "width": image.shape[2], "pixels": pixels(image),
            "cases": list(cases(image))}


json.dump({"resize": entry(random_image(11, 9, 0), resize_cases),
           "colour": entry(random_image(8, 8, 1), colour_cases),
           "blur": entry(random_image(9, 9, 2), blur_cases),
           "full": entry(random_image(32, 32, 3), full_cases)},
          sys.stdout, separators=(",", ":"))
sys.stdout.write("\n")
