// Tensors as text.
#include <algorithm>
#include <array>

#include <gradus/tensor/ops.h>
#include <gradus/tensor/tensor.h>
#include "tensor/backend/dispatch.h"

namespace gradus {
namespace {

constexpr std::int64_t most_elements = 1000;  // that are all shown
constexpr std::int64_t edge = 3;              // elements shown at each end of a shortened axis
constexpr std::size_t line_width = 100;

using CutAxes = std::array<bool, Shape::max_rank>;

/// The first and the last elements along each axis that has more, which is marked in `cut`.
Tensor without_middles(Tensor x, CutAxes& cut) {
  for (int axis = 0; axis < x.rank(); ++axis) {
    const std::int64_t size = x.size(axis);
    if (size <= 2 * edge) continue;
    x = concat({slice(x, axis, 0, edge), slice(x, axis, size - edge, size)}, axis);
    cut[static_cast<std::size_t>(axis)] = true;
  }
  return x;
}

/// Each element as text, all of the same width.
std::vector<std::string> aligned_elements(const Tensor& x) {
  std::vector<std::string> texts;
  dispatch_any(x.dtype(), [&]<class T>() {
    for (const T element : x.to_vector<T>()) {
      if constexpr (std::is_integral_v<T>) {
        texts.push_back(fmt::format("{}", element));
      } else {
        texts.push_back(fmt::format("{:.6g}", static_cast<Compute<T>>(element)));
      }
    }
  });
  std::size_t width = 0;
  for (const std::string& text : texts) width = std::max(width, text.size());
  for (std::string& text : texts) text.insert(0, width - text.size(), ' ');
  return texts;
}

/// Writes elements as nested lists, a row of the last axis a line.
class ListWriter {
 public:
  ListWriter(const Shape& shape, const CutAxes& cut, std::vector<std::string> elements)
      : shape_(shape), cut_(cut), elements_(std::move(elements)) {}

  /// The list of `axis` at the place that has been reached.
  void write(int axis) {
    if (axis == shape_.rank()) {
      text_ += elements_[next_++];
      return;
    }
    text_ += '[';
    for (std::int64_t i = 0; i < shape_[axis]; ++i) {
      if (i > 0) separate(axis);
      if (i == edge && cut_[static_cast<std::size_t>(axis)]) {
        text_ += "...";
        separate(axis);
      }
      write(axis + 1);
    }
    text_ += ']';
  }

  const std::string& text() const { return text_; }

 private:
  void separate(int axis) {
    const int inner = shape_.rank() - 1 - axis;  // axes within an element of the list
    text_ += ',';
    const std::size_t column = text_.size() - (text_.rfind('\n') + 1);  // npos + 1 is 0
    if (inner == 0 && column + 1 + elements_[0].size() < line_width) {
      text_ += ' ';
      return;
    }
    text_.append(static_cast<std::size_t>(std::max(inner, 1)), '\n');
    text_.append(static_cast<std::size_t>(axis + 1), ' ');
  }

  const Shape shape_;
  const CutAxes cut_;
  const std::vector<std::string> elements_;
  std::size_t next_ = 0;
  std::string text_;
};

}  // namespace

std::string to_string(const Tensor& x) {
  if (!x.defined()) return "undefined tensor";
  CutAxes cut{};
  const Tensor shown = x.numel() > most_elements ? without_middles(x, cut) : x;
  std::string lists = "[]";
  if (shown.numel() > 0) {
    ListWriter writer(shown.shape(), cut, aligned_elements(shown));
    writer.write(0);
    lists = writer.text();
  }
  return fmt::format("{} {} {} on {}", lists, name(x.dtype()), x.shape(), name(x.device()));
}

}  // namespace gradus
