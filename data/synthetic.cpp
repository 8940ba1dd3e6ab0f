#include <gradus/data/synthetic.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include <gradus/data/cifar10.h>
#include <gradus/data/counters.h>
#include <gradus/tensor/check.h>
#include "data/internal/images.h"
#include "data/internal/synthetic_shapes.h"

namespace gradus::data {
namespace {

constexpr int side = 32;
constexpr float pi = std::numbers::pi_v<float>;

/// The random numbers of one image, one after the other.
class Draws {
 public:
  Draws(std::uint64_t seed, Split split, std::int64_t index)
      : seed_(seed),
        sample_(static_cast<std::uint64_t>(index)),
        high_(counter_high(Domain::synthetic, static_cast<std::uint32_t>(split), 0)) {}

  std::uint32_t word() {
    if (used_ == 4) {
      words_ = draw(seed_, block_++, sample_, high_);
      used_ = 0;
    }
    return words_.word[used_++];
  }
  float between(float low, float high) { return uniform_between(word(), low, high); }
  int integer(int low, int high) {  // both ends included
    return low +
           static_cast<int>(uniform_below(word(), static_cast<std::uint32_t>(high - low + 1)));
  }

 private:
  std::uint64_t seed_;
  std::uint64_t sample_;
  std::uint64_t high_;
  std::uint32_t block_ = 0;
  PhiloxBlock words_{};
  int used_ = 4;
};

using Colour = std::array<float, 3>;

/// A random grey with a tint. Tints are weak because augmentation changes brightness far more than
/// hue: with strong ones, two views would agree on the colours, and nothing else need be learnt.
Colour random_colour(Draws& draws) {
  const float grey = draws.between(0.0f, 1.0f);
  Colour colour;
  for (float& channel : colour) {
    channel = std::clamp(grey + draws.between(-0.2f, 0.2f), 0.0f, 1.0f);
  }
  return colour;
}

/// A colour at least `apart` from both others, as far as 16 tries find one.
Colour contrasting_colour(Draws& draws, const Colour& a, const Colour& b, float apart) {
  const auto distance = [](const Colour& x, const Colour& y) {
    return std::hypot(x[0] - y[0], x[1] - y[1], x[2] - y[2]);
  };
  Colour best{};
  float best_distance = -1.0f;
  for (int i = 0; i < 16 && best_distance < apart; ++i) {
    const Colour colour = random_colour(draws);
    const float nearest = std::min(distance(colour, a), distance(colour, b));
    if (nearest > best_distance) {
      best = colour;
      best_distance = nearest;
    }
  }
  return best;
}

float mix(float a, float b, float t) { return a + (b - a) * t; }

/// Share of a pixel that lies inside an edge at signed distance `d` (pixels, negative inside).
float coverage(float d) { return std::clamp(0.5f - d, 0.0f, 1.0f); }

/// An image in the making: float [32, 32, 3].
class Canvas {
 public:
  /// Lays `colour` over a pixel with opacity `alpha`.
  void paint(int x, int y, const Colour& colour, float alpha) {
    float* pixel = at(x, y);
    for (std::size_t c = 0; c < 3; ++c) pixel[c] = mix(pixel[c], colour[c], alpha);
  }
  float* at(int x, int y) { return pixels_.data() + 3 * (y * side + x); }

 private:
  std::array<float, side * side * 3> pixels_{};
};

/// Two colours blended by smooth noise on a 5x5 grid.
void paint_background(Canvas& canvas, Draws& draws, const Colour& a, const Colour& b) {
  constexpr int cells = 4;
  float grid[cells + 1][cells + 1];
  for (auto& row : grid) {
    for (float& value : row) value = draws.between(0.0f, 1.0f);
  }
  for (int y = 0; y < side; ++y) {
    for (int x = 0; x < side; ++x) {
      const float gx = static_cast<float>(x) * cells / side,
                  gy = static_cast<float>(y) * cells / side;
      const int i = static_cast<int>(gx), j = static_cast<int>(gy);
      const float tx = gx - static_cast<float>(i), ty = gy - static_cast<float>(j);
      const float sx = tx * tx * (3.0f - 2.0f * tx), sy = ty * ty * (3.0f - 2.0f * ty);
      const float t =
          mix(mix(grid[j][i], grid[j][i + 1], sx), mix(grid[j + 1][i], grid[j + 1][i + 1], sx), sy);
      canvas.paint(x, y, a, 1.0f);
      canvas.paint(x, y, b, t);
    }
  }
}

/// A short stroke with round ends, anywhere.
void paint_stroke(Canvas& canvas, Draws& draws) {
  const Colour colour = random_colour(draws);
  const float cx = draws.between(0.0f, side), cy = draws.between(0.0f, side);
  const float angle = draws.between(0.0f, pi), half_length = draws.between(0.0f, 5.0f);
  const float dx = std::cos(angle), dy = std::sin(angle);
  const float half_width = draws.between(0.5f, 1.6f);
  for (int y = 0; y < side; ++y) {
    for (int x = 0; x < side; ++x) {
      const float px = static_cast<float>(x) - cx, py = static_cast<float>(y) - cy;
      const float along = std::clamp(px * dx + py * dy, -half_length, half_length);
      const float distance = std::hypot(px - along * dx, py - along * dy);
      canvas.paint(x, y, colour, coverage(distance - half_width));
    }
  }
}

void paint_object(Canvas& canvas, Draws& draws, ObjectClass object, const Colour& background_a,
                  const Colour& background_b) {
  const Colour first = contrasting_colour(draws, background_a, background_b, 0.4f);
  const Colour second = contrasting_colour(draws, first, first, 0.5f);
  const float cx = draws.between(12.0f, 19.0f), cy = draws.between(12.0f, 19.0f);
  const float radius = draws.between(10.0f, 15.0f);
  const float angle = draws.between(0.0f, 2.0f * pi);
  const float period = draws.between(4.0f, 6.5f);
  const bool square_patch = draws.integer(0, 1) == 1;
  const float cosine = std::cos(angle), sine = std::sin(angle);
  for (int y = 0; y < side; ++y) {
    for (int x = 0; x < side; ++x) {
      const float px = static_cast<float>(x) - cx, py = static_cast<float>(y) - cy;
      const float u = cosine * px + sine * py, v = cosine * py - sine * px;
      const float alpha = coverage(radius * outline(object, u / radius, v / radius, square_patch));
      if (alpha == 0.0f) continue;
      const float t = coverage(-texture(object, u, v, period));
      const Colour colour = {mix(first[0], second[0], t), mix(first[1], second[1], t),
                             mix(first[2], second[2], t)};
      canvas.paint(x, y, colour, alpha);
    }
  }
}

/// Uneven light, noise, and rounding to bytes.
void finish(Canvas& canvas, Draws& draws, std::uint8_t* output) {
  const float angle = draws.between(0.0f, 2.0f * pi);
  const float strength = draws.between(0.0f, 0.35f) / side;
  const float slope_x = strength * std::cos(angle), slope_y = strength * std::sin(angle);
  const float noise = draws.between(0.01f, 0.05f);
  for (int y = 0; y < side; ++y) {
    for (int x = 0; x < side; ++x) {
      const float light = 1.0f + slope_x * static_cast<float>(x - side / 2) +
                          slope_y * static_cast<float>(y - side / 2);
      const float* pixel = canvas.at(x, y);
      for (int c = 0; c < 3; ++c) {
        // The sum of two uniform halves: a triangular density of unit variance, scaled.
        const std::uint32_t word = draws.word();
        const float sum = static_cast<float>((word & 0xFFFFu) + (word >> 16)) / 65535.0f - 1.0f;
        const float value = pixel[c] * light + noise * 2.4495f * sum;
        *output++ = static_cast<std::uint8_t>(std::clamp(value, 0.0f, 1.0f) * 255.0f + 0.5f);
      }
    }
  }
}

void render(std::uint64_t seed, Split split, std::int64_t index, std::uint8_t* output) {
  Draws draws(seed, split, index);
  Canvas canvas;
  const Colour a = random_colour(draws), b = random_colour(draws);
  paint_background(canvas, draws, a, b);
  for (int n = draws.integer(2, 5); n > 0; --n) paint_stroke(canvas, draws);
  paint_object(canvas, draws, static_cast<ObjectClass>(index % object_classes), a, b);
  for (int n = draws.integer(0, 2); n > 0; --n) paint_stroke(canvas, draws);
  finish(canvas, draws, output);
}

}  // namespace

Dataset synthetic_dataset(std::int64_t count, Split split, std::uint64_t seed) {
  check(count >= 1 && count <= 100'000'000, "synthetic",
        "the number of images must lie in [1, 100000000]; got {}", count);
  Dataset dataset{empty_images(count, side, side),
                  empty({count}, {DType::int64}),
                  {"disc", "square", "triangle", "star", "cross", "ring", "stripes", "checkers",
                   "dots", "bullseye"},
                  cifar10_normalization()};
  auto* images = dataset.images.data<std::uint8_t>();
  auto* labels = dataset.labels.data<std::int64_t>();
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < count; ++i) {
    render(seed, split, i, images + i * side * side * 3);
    labels[i] = i % object_classes;
  }
  return dataset;
}

}  // namespace gradus::data
