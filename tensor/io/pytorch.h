// Files that PyTorch's torch.save wrote, read without Python: a ZIP of a pickle, which describes
// Python objects, and the tensors' memory.
#pragma once

#include <filesystem>

#include <gradus/tensor/io/safetensors.h>

namespace gradus {

/// Reads a file of torch.save (PyTorch 1.6 or newer) that holds nested dicts, lists and tuples of
/// tensors, numbers, strings and None; nothing in it is executed, and anything else is refused by
/// its name. Names are the path of keys and positions, joined by dots:
///   {"epoch": 3, "model": {"fc.weight": tensor}, "betas": (0.9, 0.99)}
/// gives the tensors epoch (int64), model.fc.weight, betas.0 and betas.1 (float64); bool is uint8;
/// strings are metadata; None is left out.
///
/// Element types: those of DType; bool as uint8, float16 as float32, int8 to int32 as int64, all
/// exactly. Tensors that share memory in PyTorch share it here where both are contiguous.
///
/// A file is not trusted: memory is bounded by a small multiple of its size, but for its pickle, of
/// 2 MB at most, whose numbers take up to 550 times as much. Errors are one line:
///   [load] cannot read FILE: entry data.pkl, byte 812: it names "os.system", which ...
TensorFile read_pytorch(const std::filesystem::path& path);

/// Reads a file of torch.save or a safetensors file, whichever it is.
TensorFile read_tensors(const std::filesystem::path& path);

}  // namespace gradus
