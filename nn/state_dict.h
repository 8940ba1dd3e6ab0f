// A module's parameters and buffers by name, with PyTorch's names and layouts.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <gradus/nn/module.h>

namespace gradus::nn {

/// The tensors of a state by name, in PyTorch's layouts.
using StateDict = std::map<std::string, Tensor>;

/// A snapshot (copies) of the module's state. Names start with `prefix` and a dot, if it is not
/// empty. Convolution weights are [O, I, kH, kW], as in PyTorch; everything else has one layout.
StateDict state_dict(const Module& module, std::string_view prefix = "");

/// What load_state_dict lets pass.
struct LoadOptions {
  bool strict = true;  ///< missing and unexpected names are errors
};

/// The names in which a state and a module differ.
struct LoadReport {
  std::vector<std::string> missing;     ///< required by the module, not in the state
  std::vector<std::string> unexpected;  ///< in the state, not in the module
};

/// Copies a state (PyTorch's layouts) into the module; floating types convert to the module's. With
/// a prefix only names that start with it and a dot are read:
/// `load_state_dict(encoder, state, "encoder")`. All or nothing: on an Error the module is as it
/// was. The error names missing and unexpected names (unless options.strict is off), and the first
/// tensor whose shape or type does not fit. Batch norm's num_batches_tracked may be missing, as in
/// states of PyTorch before 0.4.1.
LoadReport load_state_dict(Module& module, const StateDict& state, std::string_view prefix = "",
                           const LoadOptions& options = {});

/// PyTorch's tensor in the layout of ours.
Tensor from_pytorch(const Tensor& theirs, Layout layout);

/// Writes the state to a safetensors file; PyTorch reads it with safetensors.torch.load_file.
void save(const Module& module, const std::filesystem::path& path);
/// Loads the state that such a file holds, or one that PyTorch saved as safetensors or by
/// torch.save (tensor/io/pytorch.h): all or nothing, as a strict load_state_dict.
void load(Module& module, const std::filesystem::path& path);

}  // namespace gradus::nn
