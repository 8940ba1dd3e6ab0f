// The shapes and textures of the synthetic data set, as functions of a point (u, v) in the object's
// own frame: centred, turned, and measured in units of its radius.
#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>

namespace gradus::data {

enum class ObjectClass : int {
  disc,
  square,
  triangle,
  star,
  cross,
  ring,
  stripes,
  checkers,
  dots,
  bullseye
};
inline constexpr int object_classes = 10;

/// Distance to a regular star's edge; `inner` is the ratio of its inner to its outer radius.
inline float star_distance(float u, float v, int points, float inner) {
  const float sector = std::numbers::pi_v<float> / static_cast<float>(points);
  float angle = std::fmod(std::atan2(v, u) + 4.0f * std::numbers::pi_v<float>, 2.0f * sector);
  angle = std::min(angle, 2.0f * sector - angle);  // folded into half a point
  const float radius = std::sqrt(u * u + v * v);
  const float x = radius * std::cos(angle), y = radius * std::sin(angle);
  // Edge from the tip (1, 0) to the notch (inner cos, inner sin).
  const float ex = inner * std::cos(sector) - 1.0f, ey = inner * std::sin(sector);
  return ((x - 1.0f) * ey - y * ex) / std::sqrt(ex * ex + ey * ey);
}

/// Signed distance to the outline (about; negative inside). Textures lie on a disc or a square.
inline float outline(ObjectClass object, float u, float v, bool square_patch) {
  const float radius = std::sqrt(u * u + v * v);
  const float box = std::max(std::abs(u), std::abs(v));
  switch (object) {
    case ObjectClass::disc: return radius - 0.85f;
    case ObjectClass::square: return box - 0.75f;
    case ObjectClass::triangle: {
      const float side = 0.8660254f * std::abs(u) + 0.5f * v;
      return std::max(side, -v) - 0.5f;
    }
    case ObjectClass::star: return star_distance(u, v, 5, 0.42f);
    case ObjectClass::cross: {
      const float across = std::max(std::abs(u) - 0.27f, std::abs(v) - 0.95f);
      const float along = std::max(std::abs(v) - 0.27f, std::abs(u) - 0.95f);
      return std::min(across, along);
    }
    case ObjectClass::ring: return std::abs(radius - 0.68f) - 0.2f;
    default: return square_patch ? box - 0.8f : radius - 0.95f;
  }
}

/// A texture at (u, v), here in pixels, with period `period`: positive where the second colour
/// shows, in about pixels from the border between the two. Shapes have one colour (-1).
inline float texture(ObjectClass object, float u, float v, float period) {
  const float turn = 2.0f * std::numbers::pi_v<float> / period;
  const float slope = 1.0f / turn;
  switch (object) {
    case ObjectClass::stripes: return slope * std::sin(turn * u);
    case ObjectClass::checkers: return slope * 2.0f * std::sin(turn * u) * std::sin(turn * v);
    case ObjectClass::dots: {
      const float x = u - period * std::round(u / period), y = v - period * std::round(v / period);
      return 0.3f * period - std::sqrt(x * x + y * y);
    }
    case ObjectClass::bullseye: return slope * std::sin(turn * std::sqrt(u * u + v * v));
    default: return -1.0f;
  }
}

}  // namespace gradus::data
