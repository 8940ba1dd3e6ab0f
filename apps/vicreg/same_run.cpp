#include "vicreg/same_run.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include <gradus/tensor/check.h>

namespace gradus::vicreg {
namespace {

/// FNV-1a over words of 64 bits, so that a data set takes milliseconds; the rest byte by byte.
std::string hash(const void* bytes, std::size_t size) {
  const auto* at = static_cast<const unsigned char*>(bytes);
  std::uint64_t h = 0xcbf29ce484222325;
  const auto mix = [&h](std::uint64_t word) { h = (h ^ word) * 0x100000001b3; };
  for (; size >= sizeof(std::uint64_t);
       size -= sizeof(std::uint64_t), at += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::copy_n(at, sizeof word, reinterpret_cast<unsigned char*>(&word));
    mix(word);
    h ^= h >> 29;  // upper bits come down, too
  }
  for (; size > 0; --size) mix(*at++);
  return fmt::format("{:016x}", h);
}

std::string hash(const Tensor& x) { return hash(x.raw(), x.bytes()); }

std::string hash_of_program() {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  return hash(bytes.data(), bytes.size());
}

/// All members' texts.
std::vector<std::string> gather(Communicator& communicator, const std::string& text) {
  const auto size = static_cast<std::int64_t>(text.size());
  const std::int64_t longest = largest_of_members(communicator, size);
  std::vector<std::uint8_t> padded(text.begin(), text.end());
  padded.resize(static_cast<std::size_t>(longest), ' ');  // JSON does not mind
  const auto all =
      communicator.all_gather(from_vector(padded, {longest})).to_vector<std::uint8_t>();
  std::vector<std::string> texts;
  for (auto begin = all.begin(); begin != all.end(); begin += longest)
    texts.emplace_back(begin, begin + longest);
  return texts;
}

}  // namespace

std::int64_t largest_of_members(Communicator& communicator, std::int64_t own) {
  if (communicator.size() == 1) return own;
  const auto all = communicator.all_gather(from_vector<std::int64_t>({own}, {}));
  const auto values = all.to_vector<std::int64_t>();
  return *std::max_element(values.begin(), values.end());
}

void check_same(Communicator& communicator, const nlohmann::json& description) {
  if (communicator.size() == 1) return;
  const std::vector<std::string> texts = gather(communicator, description.dump());
  const auto first = nlohmann::json::parse(texts[0]);
  for (int rank = 1; rank < communicator.size(); ++rank) {
    const auto other = nlohmann::json::parse(texts[static_cast<std::size_t>(rank)]);
    for (const auto& [name, value] : first.items()) {
      const nlohmann::json theirs = other.value(name, nlohmann::json());
      if (theirs == value) continue;
      communicator.first_then_others([&, name = name, value = value] {
        fail("train",
             "process {} has {} = {}, process 0 has {}; start all processes with the same program, "
             "options and data",
             communicator.process_of(rank), name, theirs.dump(), value.dump());
      });
    }
  }
}

nlohmann::json run_identity(const TrainOptions& options, Device device,
                            const data::Dataset& dataset, const nn::Module& model,
                            std::int64_t step) {
  nlohmann::json description = identity(options);
  for (const char* fact : {"images", "mean", "std"}) description.erase(fact);  // hashes tell these
  // Not of the run's identity, but of what the members do in turn.
  description["steps"] = options.steps;
  description["all epochs"] = options.epochs;
  description["checkpoint-every"] = options.checkpoint_every;
  description["checkpoint-activations"] = options.checkpoint_activations;
  description["unordered-sums"] = options.unordered_sums;
  description["program (hash)"] = hash_of_program();
  description["device"] = name(device);
  description["instructions"] = cpu_instructions();
  description["training images (hash)"] = hash(dataset.images);
  if (dataset.is_labelled()) description["training labels (hash)"] = hash(dataset.labels);
  std::string weights;  // hashes, one after another
  for (const nn::NamedTensor& state : model.state()) weights += hash(state.tensor->to(Device::cpu));
  description["weights (hash)"] = hash(weights.data(), weights.size());
  description["step"] = step;
  return description;
}

}  // namespace gradus::vicreg
