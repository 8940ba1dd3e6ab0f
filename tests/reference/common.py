"""What the generators share: Philox random numbers, as in tensor/random.h, and a safetensors writer.

The C++ tests draw the same numbers (tests/support/reference.h), so inputs need not be stored.
"""

import json
import pathlib
import struct

import numpy as np
import torch

FOLDER = pathlib.Path(__file__).parent


def fnv1a(name):
    """64-bit FNV-1a hash of a string: the Philox key of the numbers called `name`."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return value


def philox(key, blocks):
    """Philox4x32-10 (Salmon et al., 2011) of counters 0 .. blocks-1: uint32 words [blocks, 4]."""
    mask, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    counter = np.arange(blocks, dtype=np.uint64)
    c0, c1 = counter & mask, counter >> half
    c2, c3 = np.zeros_like(counter), np.zeros_like(counter)
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        product0, product1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c2 = (product1 >> half) ^ c1 ^ np.uint64(k0), (product0 >> half) ^ c3 ^ np.uint64(k1)
        c1, c3 = product1 & mask, product0 & mask
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return np.stack([c0, c1, c2, c3], axis=1)


def unit_of_seed(seed, count):
    """The first `count` doubles in [0, 1) of Generator(seed) of tensor/random.h."""
    words = philox(seed, (count + 1) // 2).reshape(-1, 2)[:count]
    bits = (words[:, 1] << np.uint64(32)) | words[:, 0]
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def unit(name, count):
    """`count` doubles in [0, 1), a pure function of `name`."""
    return unit_of_seed(fnv1a(name), count)


def uniform(name, shape, low=-1.0, high=1.0):
    """Uniform on [low, high), rounded to float32 so that both precisions see the same inputs."""
    values = low + (high - low) * unit(name, int(np.prod(shape)))
    return values.astype(np.float32).astype(np.float64).reshape(shape)


def away_from_zero(name, shape):
    """0.1 <= |x| < 1, for functions with a kink at zero."""
    values = uniform(name, shape)
    values = np.where(values < 0, -0.1, 0.1) + 0.9 * values
    return values.astype(np.float32).astype(np.float64)


def distinct(name, shape, shift=0.0):
    """A random order of numbers 0.125 apart, for maxima: 0.125 (rank - count / 2) + shift."""
    values = unit(name, int(np.prod(shape)))
    rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return (0.125 * (rank - rank.size // 2) + shift).reshape(shape)


def save(file, tensors, metadata=None):
    """Writes {name: array} and {name: string} as safetensors; float64, float32 and int64 arrays."""
    codes = {"float64": "F64", "float32": "F32", "int64": "I64"}
    header, buffer = {"__metadata__": metadata} if metadata else {}, []
    offset = 0
    for name, array in tensors.items():
        array = array.detach().numpy() if isinstance(array, torch.Tensor) else np.asarray(array)
        data = array.tobytes()
        header[name] = {
            "dtype": codes[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + len(data)],
        }
        buffer.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path = FOLDER / file
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(buffer))
    print(f"{path}: {len(tensors)} tensors, {path.stat().st_size} bytes")
