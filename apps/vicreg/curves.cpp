// curves.svg: small panels of line plots.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include <gradus/tensor/io/file.h>
#include "vicreg/pictures.h"

namespace gradus::vicreg {
namespace {

constexpr double panel_width = 330, panel_height = 225;
constexpr double margin_left = 52, margin_right = 14, margin_top = 34, margin_bottom = 40;
constexpr int columns = 4;
constexpr double page_margin = 10;
constexpr std::size_t max_points = 250;  // longer series are averaged over spans

struct Point {
  double x, mean, low, high;  // low and high: the range of the values averaged
};

struct Series {
  std::string label;
  const char* color;
  std::vector<Point> points;
};

struct Panel {
  std::string title;
  std::string x_label;
  std::vector<Series> series;
  std::string when_empty = "no data yet";
};

/// A linear map of [low, high] onto pixels.
struct Axis {
  double low, high, first_pixel, last_pixel;
  double operator()(double value) const {
    return first_pixel + (value - low) / (high - low) * (last_pixel - first_pixel);
  }
};

/// The finite values of records, averaged over equal spans of records where they are many.
template <class Record, class X, class Y>
std::vector<Point> thin(const std::vector<Record>& records, X x, Y y) {
  const std::size_t count = records.size();
  const std::size_t spans = std::min(count, max_points);
  std::vector<Point> points;
  for (std::size_t s = 0; s < spans; ++s) {
    Point point{0, 0, std::numeric_limits<double>::infinity(),
                -std::numeric_limits<double>::infinity()};
    int finite = 0;
    for (std::size_t i = s * count / spans; i < (s + 1) * count / spans; ++i) {
      const double value = y(records[i]);
      if (!std::isfinite(value)) continue;
      ++finite;
      point.x += x(records[i]);
      point.mean += value;
      point.low = std::min(point.low, value);
      point.high = std::max(point.high, value);
    }
    if (finite == 0) continue;
    point.x /= finite;
    point.mean /= finite;
    points.push_back(point);
  }
  return points;
}

/// Multiples of 1, 2 or 5 times a power of ten in [low, high], about `wanted` of them.
std::vector<double> ticks(double low, double high, int wanted, double smallest_step = 0) {
  const double rough = (high - low) / wanted;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  const double fraction = rough / power;
  double step = power * (fraction < 1.5 ? 1 : fraction < 3.5 ? 2 : fraction < 7.5 ? 5 : 10);
  step = std::max(step, smallest_step);
  std::vector<double> values;
  for (double k = std::ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; ++k) {
    values.push_back(k * step);
  }
  return values;
}

/// A tick's label; in thousands where the axis goes beyond ten thousand.
std::string tick_label(double tick, const Axis& axis) {
  if (axis.high >= 1e4 && tick != 0) return fmt::format("{:.4g}k", tick / 1e3);
  const double smallest = 1e-9 * (axis.high - axis.low);  // rounding errors at zero
  return fmt::format("{:.4g}", std::abs(tick) < smallest ? 0.0 : tick);
}

Axis x_axis(const Panel& panel, double left) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const Series& series : panel.series) {
    if (series.points.empty()) continue;
    low = std::min(low, series.points.front().x);
    high = std::max(high, series.points.back().x);
  }
  if (high - low < 1) {
    low -= 0.5;
    high += 0.5;
  }
  return {low, high, left, left + panel_width - margin_left - margin_right};
}

/// Covers the averaged values; from zero where that wastes little.
Axis y_axis(const Panel& panel, double top) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const Series& series : panel.series) {
    for (const Point& point : series.points) {
      low = std::min(low, point.mean);
      high = std::max(high, point.mean);
    }
  }
  const double padding = high > low ? 0.05 * (high - low) : std::max(0.1 * std::abs(high), 1e-6);
  const bool from_zero = low >= 0 && low < 0.4 * high;
  low = from_zero ? 0 : low - padding;
  return {low, high + padding, top + panel_height - margin_top - margin_bottom, top};
}

class Svg {
 public:
  Svg(double width, double height) {
    add("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:g} {1:g}\" width=\"{0:g}\" "
        "height=\"{1:g}\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"11\" "
        "fill=\"#444\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        width, height);
  }

  template <class... Args>
  void add(fmt::format_string<Args...> text, Args&&... args) {
    fmt::format_to(std::back_inserter(text_), text, std::forward<Args>(args)...);
  }
  void line(double x1, double y1, double x2, double y2, const char* color) {
    add("<path d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\" stroke=\"{}\"/>\n", x1, y1, x2, y2, color);
  }
  void text(double x, double y, const char* anchor, const std::string& text) {
    add("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor, text);
  }
  std::string finish() { return std::move(text_) + "</svg>\n"; }

 private:
  std::string text_;
};

/// Grid lines, tick labels and the axes' lines.
void draw_axes(Svg& svg, const Panel& panel, const Axis& x, const Axis& y) {
  constexpr const char* grid = "#e8e8e8";
  constexpr const char* frame = "#888";
  for (const double tick : ticks(y.low, y.high, 4)) {
    svg.line(x.first_pixel, y(tick), x.last_pixel, y(tick), grid);
    svg.text(x.first_pixel - 6, y(tick) + 4, "end", tick_label(tick, y));
  }
  for (const double tick : ticks(x.low, x.high, 5, 1)) {
    svg.line(x(tick), y.first_pixel, x(tick), y.first_pixel + 4, frame);
    svg.text(x(tick), y.first_pixel + 16, "middle", tick_label(tick, x));
  }
  svg.line(x.first_pixel, y.first_pixel, x.last_pixel, y.first_pixel, frame);
  svg.line(x.first_pixel, y.first_pixel, x.first_pixel, y.last_pixel, frame);
  svg.text((x.first_pixel + x.last_pixel) / 2, y.first_pixel + 32, "middle", panel.x_label);
}

/// The averages as a line, and the range behind them; a single point as a dot.
void draw_series(Svg& svg, const Series& series, const Axis& x, const Axis& y) {
  if (series.points.size() == 1) {
    const Point& point = series.points.front();
    svg.add("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.5\" fill=\"{}\"/>\n", x(point.x),
            y(point.mean), series.color);
    return;
  }
  const auto clip = [&](double value) { return y(std::clamp(value, y.low, y.high)); };
  std::string upper, lower, line;
  for (std::size_t i = 0; i < series.points.size(); ++i) {
    const Point& point = series.points[i];
    const Point& mirrored = series.points[series.points.size() - 1 - i];
    upper += fmt::format("{:.1f},{:.1f} ", x(point.x), clip(point.high));
    lower += fmt::format("{:.1f},{:.1f} ", x(mirrored.x), clip(mirrored.low));
    line += fmt::format("{:.1f},{:.1f} ", x(point.x), y(point.mean));
  }
  const bool averaged = std::any_of(series.points.begin(), series.points.end(),
                                    [](const Point& p) { return p.low < p.high; });
  if (averaged) {
    svg.add("<polygon points=\"{}{}\" fill=\"{}\" fill-opacity=\"0.18\"/>\n", upper, lower,
            series.color);
  }
  svg.add(
      "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.6\" "
      "stroke-linejoin=\"round\"/>\n",
      line, series.color);
}

void draw_panel(Svg& svg, const Panel& panel, double left, double top) {
  const double plot_left = left + margin_left, plot_right = left + panel_width - margin_right;
  svg.add(
      "<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"13\" font-weight=\"bold\" "
      "fill=\"#222\">{}</text>\n",
      plot_left, top + 18, panel.title);
  const bool empty = std::all_of(panel.series.begin(), panel.series.end(),
                                 [](const Series& series) { return series.points.empty(); });
  if (empty) {
    svg.text((plot_left + plot_right) / 2, top + panel_height / 2, "middle", panel.when_empty);
    return;
  }
  const Axis x = x_axis(panel, plot_left), y = y_axis(panel, top + margin_top);
  draw_axes(svg, panel, x, y);
  // The legend, with the last values, stands on the title's line.
  svg.add("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">", plot_right, top + 18);
  int spacing = 0;
  for (const Series& series : panel.series) {
    if (series.points.empty()) continue;
    svg.add("<tspan fill=\"{}\" dx=\"{}\">{} {:.3g}</tspan>", series.color, spacing, series.label,
            series.points.back().mean);
    spacing = 10;
  }
  svg.add("</text>\n");
  for (const Series& series : panel.series) draw_series(svg, series, x, y);
}

std::vector<Panel> make_panels(const Metrics& metrics) {
  const auto per_step = [&](const char* title, const char* color, auto value) {
    return Panel{title,
                 "step",
                 {{"last", color,
                   thin(
                       metrics.steps, [](const StepRecord& r) { return double(r.step); }, value)}}};
  };
  const auto per_epoch = [&](const char* label, const char* color, auto value) {
    return Series{label, color,
                  thin(
                      metrics.epochs, [](const EpochRecord& r) { return double(r.epoch); }, value)};
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<Panel> panels;
  const LossName loss = metrics.steps.empty() ? LossName::vicreg : metrics.steps.back().loss.name;
  for (const LossTerm& term : loss_terms(loss)) {
    panels.push_back(per_step(term.title, term.color,
                              [value = term.value](const StepRecord& r) { return r.loss.*value; }));
  }
  const std::vector<Panel> others{
      {"Embedding std",
       "epoch",
       {per_epoch("mean", "#1f5a96", [](const EpochRecord& r) { return r.std_mean; }),
        per_epoch("min", "#b8552b", [](const EpochRecord& r) { return r.std_min; })}},
      {"Effective rank",
       "epoch",
       {per_epoch("last", "#2a7f62", [](const EpochRecord& r) { return r.effective_rank; })}},
      {"kNN accuracy, %",
       "epoch",
       {per_epoch("last", "#74479c",
                  [nan](const EpochRecord& r) { return 100 * r.knn_accuracy.value_or(nan); })},
       "not measured"},
      per_step("Learning rate", "#666", [](const StepRecord& r) { return r.learning_rate; }),
  };
  panels.insert(panels.end(), others.begin(), others.end());
  return panels;
}

}  // namespace

void write_curves(const std::filesystem::path& path, const Metrics& metrics) {
  const std::vector<Panel> panels = make_panels(metrics);
  const double rows = std::ceil(static_cast<double>(panels.size()) / columns);
  Svg svg(columns * panel_width + 2 * page_margin, rows * panel_height + 2 * page_margin);
  for (std::size_t i = 0; i < panels.size(); ++i) {
    draw_panel(svg, panels[i], page_margin + panel_width * static_cast<double>(i % columns),
               page_margin + panel_height * static_cast<double>(i / columns));
  }
  write_file_atomically(path, svg.finish());
}

}  // namespace gradus::vicreg
