// Per-element functions with their derivatives, written once for every back end.
//
// A unary function has `forward(x)`, and `backward(dy, saved)` = dy * f'(x), where `saved` is x or
// y = f(x) as `saves` says. What it demands of its parameters, its constructor checks (defined in
// tensor/ops/elementwise.cpp: nvcc, which reads this, has no fmt). README.md, "Adding an op", says
// how to add one.
#pragma once

#include <cmath>
#include <cstdint>

#include <gradus/tensor/host_device.h>

namespace gradus {

/// What a function's backward reads.
enum class Saves : std::uint8_t { nothing, input, output };

/// y = scale x + shift
struct Affine {
  static constexpr Saves saves = Saves::nothing;
  double scale = 1, shift = 0;
  template <class T>
  GRADUS_HOST_DEVICE T forward(T x) const {
    return static_cast<T>(scale) * x + static_cast<T>(shift);
  }
  template <class T>
  GRADUS_HOST_DEVICE T backward(T dy, T) const {
    return static_cast<T>(scale) * dy;
  }
};

/// y = x / divisor
struct DivideBy {
  static constexpr Saves saves = Saves::nothing;
  double divisor = 1;
  template <class T>
  GRADUS_HOST_DEVICE T forward(T x) const {
    return x / static_cast<T>(divisor);
  }
  template <class T>
  GRADUS_HOST_DEVICE T backward(T dy, T) const {
    return dy / static_cast<T>(divisor);
  }
};

/// y = e^x
struct Exp {
  static constexpr Saves saves = Saves::output;
  template <class T>
  GRADUS_HOST_DEVICE T forward(T x) const {
    return std::exp(x);
  }
  template <class T>
  GRADUS_HOST_DEVICE T backward(T dy, T y) const {
    return dy * y;
  }
};

/// y = ln x
struct Log {
  static constexpr Saves saves = Saves::input;
  template <class T>
  GRADUS_HOST_DEVICE T forward(T x) const {
    return std::log(x);
  }
  template <class T>
  GRADUS_HOST_DEVICE T backward(T dy, T x) const {
    return dy / x;
  }
};

/// y = sqrt(x); the derivative at 0 is infinite.
struct Sqrt {
  static constexpr Saves saves = Saves::output;
  template <class T>
  GRADUS_HOST_DEVICE T forward(T x) const {
    return std::sqrt(x);
  }
  template <class T>
  GRADUS_HOST_DEVICE T backward(T dy, T y) const {
    return dy / (2 * y);
  }
};

/// y = x^2
struct Square {
  static constexpr Saves saves = Saves::input;
  template <class T>
  GRADUS_HOST_DEVICE T forward(T x) const {
    return x * x;
  }
  template <class T>
  GRADUS_HOST_DEVICE T backward(T dy, T x) const {
    return 2 * (x * dy);  // 2 x alone may leave the range
  }
};

/// y = x^exponent; the derivative of x^0 is 0, also at 0.
struct Pow {
  static constexpr Saves saves = Saves::input;
  double exponent = 1;
  template <class T>
  GRADUS_HOST_DEVICE T forward(T x) const {
    return std::pow(x, static_cast<T>(exponent));
  }
  template <class T>
  GRADUS_HOST_DEVICE T backward(T dy, T x) const {
    if (exponent == 0) return T{0};
    return dy * (static_cast<T>(exponent) * std::pow(x, static_cast<T>(exponent - 1)));
  }
};

/// y = |x|; the derivative at 0 is taken as 0.
struct Abs {
  static constexpr Saves saves = Saves::input;
  template <class T>
  GRADUS_HOST_DEVICE T forward(T x) const {
    return std::abs(x);
  }
  template <class T>
  GRADUS_HOST_DEVICE T backward(T dy, T x) const {
    return x > 0 ? dy : (x < 0 ? -dy : T{0});
  }
};

/// y = min(max(x, low), high); gradients pass where low <= x <= high, NaN stays NaN.
struct Clamp {
  static constexpr Saves saves = Saves::input;
  double low, high;
  /// Throws Error unless low <= high.
  Clamp(double low_, double high_);
  template <class T>
  GRADUS_HOST_DEVICE T forward(T x) const {
    return x < static_cast<T>(low) ? static_cast<T>(low)
                                   : (x > static_cast<T>(high) ? static_cast<T>(high) : x);
  }
  template <class T>
  GRADUS_HOST_DEVICE T backward(T dy, T x) const {
    return x >= static_cast<T>(low) && x <= static_cast<T>(high) ? dy : T{0};
  }
};

/// y = max(x, 0); the derivative at 0 and NaN is 0, NaN stays NaN.
struct Relu {
  static constexpr Saves saves = Saves::output;
  template <class T>
  GRADUS_HOST_DEVICE T forward(T x) const {
    return x < 0 ? T{0} : x;
  }
  template <class T>
  GRADUS_HOST_DEVICE T backward(T dy, T y) const {
    return y > 0 ? dy : T{0};
  }
};

/// y = x > 0 ? x : slope x; the derivative at 0 is the slope, NaN stays NaN.
struct LeakyRelu {
  static constexpr Saves saves = Saves::input;
  double slope;
  /// Throws Error unless the slope is finite.
  explicit LeakyRelu(double slope_);
  template <class T>
  GRADUS_HOST_DEVICE T forward(T x) const {
    return x > 0 ? x : static_cast<T>(slope) * x;
  }
  template <class T>
  GRADUS_HOST_DEVICE T backward(T dy, T x) const {
    return x > 0 ? dy : static_cast<T>(slope) * dy;
  }
};

/// y = 1 / (1 + exp(-x))
struct Sigmoid {
  static constexpr Saves saves = Saves::output;
  template <class T>
  GRADUS_HOST_DEVICE T forward(T x) const {
    return 1 / (1 + std::exp(-x));
  }
  template <class T>
  GRADUS_HOST_DEVICE T backward(T dy, T y) const {
    return dy * y * (1 - y);
  }
};

/// y = (e^x - e^-x) / (e^x + e^-x)
struct Tanh {
  static constexpr Saves saves = Saves::output;
  template <class T>
  GRADUS_HOST_DEVICE T forward(T x) const {
    return std::tanh(x);
  }
  template <class T>
  GRADUS_HOST_DEVICE T backward(T dy, T y) const {
    return dy * (1 - y * y);
  }
};

/// y = x Phi(x) = x/2 (1 + erf(x / sqrt 2)): the exact form, not the tanh approximation.
struct Gelu {
  static constexpr Saves saves = Saves::input;
  template <class T>
  GRADUS_HOST_DEVICE T forward(T x) const {
    return x * normal_cdf(x);
  }
  template <class T>
  GRADUS_HOST_DEVICE T backward(T dy, T x) const {
    const T density = static_cast<T>(0.3989422804014327) * std::exp(-x * x / 2);
    return dy * (normal_cdf(x) + x * density);
  }
  template <class T>
  GRADUS_HOST_DEVICE static T normal_cdf(T x) {
    return static_cast<T>(0.5) * (1 + std::erf(x * static_cast<T>(0.7071067811865476)));
  }
};

/// X(Function) for each of the unary functions above.
// clang-format off
#define GRADUS_UNARY_FUNCTIONS(X) \
  X(Affine) X(DivideBy) X(Exp) X(Log) X(Sqrt) X(Square) X(Pow) X(Abs) X(Clamp) X(Relu) \
  X(LeakyRelu) X(Sigmoid) X(Tanh) X(Gelu)
// clang-format on

// Binary functions: y = f(a, b). Their gradients are composed of other ops (autograd/ops).
#define GRADUS_DEFINE_BINARY(Name, expression)           \
  struct Name {                                          \
    template <class T>                                   \
    GRADUS_HOST_DEVICE auto operator()(T a, T b) const { \
      return expression;                                 \
    }                                                    \
  };
GRADUS_DEFINE_BINARY(Add, static_cast<T>(a + b))
GRADUS_DEFINE_BINARY(Sub, static_cast<T>(a - b))
GRADUS_DEFINE_BINARY(Mul, static_cast<T>(a* b))
GRADUS_DEFINE_BINARY(Div, static_cast<T>(a / b))
GRADUS_DEFINE_BINARY(Maximum, a > b || a != a ? a : b)
GRADUS_DEFINE_BINARY(Minimum, a < b || a != a ? a : b)
// Comparisons give a uint8 mask of 0 and 1.
GRADUS_DEFINE_BINARY(Equal, static_cast<std::uint8_t>(a == b))
GRADUS_DEFINE_BINARY(NotEqual, static_cast<std::uint8_t>(a != b))
GRADUS_DEFINE_BINARY(Less, static_cast<std::uint8_t>(a < b))
GRADUS_DEFINE_BINARY(LessEqual, static_cast<std::uint8_t>(a <= b))
GRADUS_DEFINE_BINARY(Greater, static_cast<std::uint8_t>(a > b))
GRADUS_DEFINE_BINARY(GreaterEqual, static_cast<std::uint8_t>(a >= b))
#undef GRADUS_DEFINE_BINARY

/// The same for the binary functions, by what they give: elements of their inputs' type, or a mask.
#define GRADUS_ARITHMETIC_FUNCTIONS(X) X(Add) X(Sub) X(Mul) X(Div) X(Maximum) X(Minimum)
#define GRADUS_COMPARISON_FUNCTIONS(X) \
  X(Equal) X(NotEqual) X(Less) X(LessEqual) X(Greater) X(GreaterEqual)

/// The result type of a binary function on elements of type T.
template <class Function, class T>
using BinaryResult = decltype(Function{}(T{}, T{}));

}  // namespace gradus
