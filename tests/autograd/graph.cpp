// graph_dot: a text that Graphviz reads, with every node once, and what backward keeps.
#include <doctest/doctest.h>

#include <map>
#include <regex>
#include <set>

#include <gradus/autograd/checkpoint.h>
#include <gradus/autograd/graph.h>
#include <gradus/autograd/ops.h>
#include "tests/support/command.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"

using namespace gradus;
using namespace gradus::test;

namespace {

Variable leaf(const Shape& shape) { return Variable(full(shape, 0.5, device_options()), true); }

/// Each line is what graph_dot writes, nodes are declared once, and edges join declared ones.
/// Returns "name shape" of each node, sorted.
std::multiset<std::string> parse(const std::string& dot) {
  CAPTURE(dot);
  const std::vector<std::string> lines = lines_of(dot);
  REQUIRE(lines.size() > 3);
  CHECK(lines.front() == "digraph {");
  CHECK(lines.back() == "}");
  const std::regex node(R"re(  (n\d+) \[label="((?:[^"\\]|\\.)*)"(, shape=box)?\];)re");
  const std::regex edge(R"(  (n\d+) -> (n\d+);)");
  std::set<std::string> declared, used;
  std::multiset<std::string> labels;
  for (std::size_t i = 2; i + 1 < lines.size(); ++i) {
    std::smatch match;
    if (std::regex_match(lines[i], match, node)) {
      CHECK(declared.insert(match[1]).second);
      labels.insert(match[2]);
    } else {
      REQUIRE(std::regex_match(lines[i], match, edge));
      used.insert({match[1], match[2]});
    }
  }
  for (const std::string& name : used) CHECK(declared.contains(name));
  return labels;
}

/// "input -> node" of each edge, by the nodes' names.
std::multiset<std::string> edges(const std::string& dot) {
  const std::regex node(R"re(  (n\d+) \[label="((?:[^"\\]|\\[^n])*).*)re");
  const std::regex edge(R"(  (n\d+) -> (n\d+);)");
  std::map<std::string, std::string> names;
  std::multiset<std::string> found;
  std::smatch match;
  for (const std::string& line : lines_of(dot))
    if (std::regex_match(line, match, node)) names[match[1]] = match[2];
  for (const std::string& line : lines_of(dot))
    if (std::regex_match(line, match, edge))
      found.insert(names[match[1]] + " -> " + names[match[2]]);
  return found;
}

}  // namespace

TEST_CASE("a graph is drawn with names, shapes, and what backward keeps") {
  Variable a = leaf({16, 4}), w = leaf({4, 8});
  const Variable b(full({8}, 2, device_options()));  // a constant has no node
  const std::string dot = graph_dot(sum(exp(matmul(a, w)) + b), {{"quoted \"w\"", &w}});
  // matmul keeps both factors, 16 4 and 4 8 floats; exp keeps its result, 16 8 floats.
  CHECK(parse(dot) == std::multiset<std::string>{R"(sum\n[])", R"(add\n[16, 8])",
                                                 R"(exp\n[16, 8]\nkeeps 512 bytes)",
                                                 R"(matmul\n[16, 8]\nkeeps 384 bytes)",
                                                 R"(leaf\n[16, 4])", R"(quoted \"w\"\n[4, 8])"});
  CHECK(edges(dot) == std::multiset<std::string>{"leaf -> matmul", R"(quoted \"w\" -> matmul)",
                                                 "matmul -> exp", "exp -> add", "add -> sum"});
  CHECK(contains(dot, "label=\"896 bytes kept for backward\""));
  CHECK(contains(dot, "shape=box"));
}

TEST_CASE(
    "memory that two nodes keep is counted once in all; a node that is used twice is drawn once") {
  const Variable x = leaf({64});
  const Variable y = square(x) * x;
  const std::string dot = graph_dot(sum(y));
  CHECK(parse(dot) == std::multiset<std::string>{R"(sum\n[])", R"(mul\n[64]\nkeeps 512 bytes)",
                                                 R"(square\n[64]\nkeeps 256 bytes)",
                                                 R"(leaf\n[64])"});
  CHECK(contains(dot, "label=\"512 bytes kept for backward\""));
}

TEST_CASE("a checkpoint keeps its input, and drawing changes no gradient") {
  const Variable x = leaf({64});
  const auto cube = [](const std::vector<Variable>& in) { return square(in[0]) * in[0]; };
  const Variable y = sum(checkpoint(cube, {x}));
  CHECK(parse(graph_dot(y)).contains(R"(checkpoint\n[64]\nkeeps 256 bytes)"));
  y.backward();
  CHECK(x.grad().to_vector<float>() == std::vector<float>(64, 0.75f));
}

TEST_CASE("what cannot be drawn is refused; depth is no matter") {
  const Variable x = leaf({1});
  CHECK_ERROR(graph_dot(Variable(ones({1}))), "[graph_dot] the value does not depend on");
  const Variable y = square(x);
  y.backward();
  CHECK_ERROR(graph_dot(y), "[graph_dot] backward has freed the graph (at square)");
  Variable deep = x;
  for (int i = 0; i < 20000; ++i) deep = neg(deep);
  CHECK(parse(graph_dot(deep)).size() == 20001);
}
