#include <gradus/autograd/graph.h>

#include <unordered_map>
#include <utility>

#include <gradus/autograd/saved_tensor.h>
#include <gradus/tensor/check.h>
#include <gradus/tensor/io/file.h>

namespace gradus {
namespace {

/// A text within a DOT string.
std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result;
}

/// Writes nodes under the numbers 0, 1, ... in the order in which a walk from the result meets
/// them.
class Graph {
 public:
  explicit Graph(const std::vector<NamedParameter>& names) {
    for (const NamedParameter& parameter : names)
      names_.emplace(parameter.variable->node().get(), parameter.name);
  }

  /// Without recursion: graphs may be deep.
  void write(const Node& result) {
    number(result);
    while (!waiting_.empty()) {
      const Node& node = *waiting_.back();
      waiting_.pop_back();
      check(!node.freed, "graph_dot", "backward has freed the graph (at {}); draw it before",
            node.name);
      write_node(node);
      for (const auto& input : node.inputs)
        if (input) text += fmt::format("  n{} -> n{};\n", number(*input), number(node));
    }
  }

  std::string text;

 private:
  int number(const Node& node) {
    const auto [entry, is_new] = numbers_.try_emplace(&node, static_cast<int>(numbers_.size()));
    if (is_new) waiting_.push_back(&node);
    return entry->second;
  }

  void write_node(const Node& node) {
    const auto name = names_.find(&node);
    std::string label = escaped(name == names_.end() ? node.name : name->second);
    label += fmt::format("\\n{}", node.shape);
    const ReadNotes notes;
    const auto copy = std::pair(node.backward, node.backward_of_two);  // notes what it keeps
    if (notes.bytes() > 0) label += fmt::format("\\nkeeps {}", format_bytes(notes.bytes()));
    text += fmt::format("  n{} [label=\"{}\"{}];\n", number(node), label,
                        node.leaf ? ", shape=box" : "");
  }

  std::unordered_map<const Node*, std::string> names_;
  std::unordered_map<const Node*, int> numbers_;
  std::vector<const Node*> waiting_;
};

}  // namespace

std::string graph_dot(const Variable& result, const std::vector<NamedParameter>& names) {
  check(result.requires_grad(), "graph_dot",
        "the value does not depend on anything that requires a gradient");
  Graph graph(names);
  const ReadNotes notes;
  graph.write(*result.node());
  return fmt::format("digraph {{\n  label=\"{} kept for backward\";\n{}}}\n",
                     format_bytes(notes.bytes()), graph.text);
}

}  // namespace gradus
