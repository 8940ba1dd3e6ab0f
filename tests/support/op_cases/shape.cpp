#include <gradus/autograd/ops.h>
#include "tests/support/op_cases.h"

namespace gradus::test {
namespace {

using Inputs = std::vector<Variable>;

void add_one(OpCases& cases, const std::string& name, const Shape& shape,
             const std::function<Variable(const Variable&)>& function) {
  cases.push_back(
      {name, {uniform_input(shape)}, [function](const Inputs& in) { return function(in[0]); }});
}

Tensor indices(const std::vector<std::int64_t>& values) {
  return from_vector(values, {std::ssize(values)});
}

void add_layouts(OpCases& cases) {
  using V = const Variable&;
  add_one(cases, "reshape.merge", {2, 3, 4}, [](V x) { return reshape(x, {6, 4}); });
  add_one(cases, "reshape.infer", {2, 3, 4}, [](V x) { return reshape(x, {4, -1}); });
  add_one(cases, "reshape.scalar", {1, 1}, [](V x) { return reshape(x, Shape{}); });
  add_one(cases, "flatten.all", {2, 3, 4}, [](V x) { return flatten(x, 0); });
  add_one(cases, "flatten.one", {2, 3, 4, 2}, [](V x) { return flatten(x); });
  add_one(cases, "permute.matrix", {3, 4}, [](V x) { return permute(x, {1, 0}); });
  add_one(cases, "permute.identity", {2, 3}, [](V x) { return permute(x, {0, 1}); });
  add_one(cases, "permute.cycle", {2, 3, 4}, [](V x) { return permute(x, {2, 0, 1}); });
  add_one(cases, "permute.nhwc_to_nchw", {2, 3, 5, 4}, [](V x) {
    return permute(x, {0, 3, 1, 2});
  });
  add_one(cases, "permute.ones", {1, 3, 1, 2}, [](V x) { return permute(x, {3, 2, 1, 0}); });
  add_one(cases, "permute.empty", {2, 0, 3}, [](V x) { return permute(x, {2, 1, 0}); });
  add_one(cases, "transpose.matrix", {5, 7}, [](V x) { return transpose(x); });
  add_one(cases, "transpose.axes", {2, 3, 4}, [](V x) { return transpose(x, 0, 2); });
  add_one(cases, "broadcast_to.row", {4}, [](V x) { return broadcast_to(x, {3, 4}); });
  add_one(cases, "broadcast_to.column", {3, 1}, [](V x) { return broadcast_to(x, {3, 4}); });
  add_one(cases, "broadcast_to.scalar", {}, [](V x) { return broadcast_to(x, {2, 3}); });
  add_one(cases, "broadcast_to.middle", {2, 1, 3}, [](V x) {
    return broadcast_to(x, {5, 2, 4, 3});
  });
  add_one(cases, "broadcast_to.same", {2, 3}, [](V x) { return broadcast_to(x, {2, 3}); });
  add_one(cases, "broadcast_to.empty", {1, 3}, [](V x) { return broadcast_to(x, {0, 3}); });
}

void add_pieces(OpCases& cases) {
  using V = const Variable&;
  cases.push_back({"concat.axis0",
                   {uniform_input({2, 3}), uniform_input({1, 3})},
                   [](const Inputs& in) { return concat(in, 0); }});
  cases.push_back({"concat.axis1",
                   {uniform_input({2, 3}), uniform_input({2, 1}), uniform_input({2, 2})},
                   [](const Inputs& in) { return concat(in, 1); }});
  cases.push_back({"concat.last",
                   {uniform_input({2, 2, 3}), uniform_input({2, 2, 5})},
                   [](const Inputs& in) { return concat(in, -1); }});
  add_one(cases, "concat.one", {2, 3}, [](V x) { return concat({x}); });
  add_one(cases, "concat.twice", {2, 3}, [](V x) { return concat({x, x}, 1); });
  cases.push_back({"concat.empty_part",
                   {uniform_input({0, 3}), uniform_input({2, 3})},
                   [](const Inputs& in) { return concat(in, 0); }});
  add_one(cases, "slice.rows", {5, 3}, [](V x) { return slice(x, 0, 1, 4); });
  add_one(cases, "slice.columns", {3, 5}, [](V x) { return slice(x, 1, 2, 5); });
  add_one(cases, "slice.middle", {2, 4, 3}, [](V x) { return slice(x, 1, 1, 2); });
  add_one(cases, "slice.last", {2, 3, 4}, [](V x) { return slice(x, -1, 0, 3); });
  add_one(cases, "slice.whole", {3, 2}, [](V x) { return slice(x, 0, 0, 3); });
  add_one(cases, "slice.nothing", {3, 2}, [](V x) { return slice(x, 0, 2, 2); });
  add_one(cases, "gather_rows.matrix", {4, 3}, [](V x) {
    return gather_rows(x, indices({3, 0, 3, 1, 3}));
  });
  add_one(cases, "gather_rows.vector", {6}, [](V x) { return gather_rows(x, indices({5, 5, 0})); });
  add_one(cases, "gather_rows.cube", {3, 2, 2}, [](V x) { return gather_rows(x, indices({1})); });
  add_one(cases, "gather_rows.nothing", {3, 2}, [](V x) { return gather_rows(x, indices({})); });
}

}  // namespace

void add_shape_cases(OpCases& cases) {
  add_layouts(cases);
  add_pieces(cases);
}

}  // namespace gradus::test
