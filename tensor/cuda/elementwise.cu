// Unary functions of tensor/elementwise.h, where and add_scaled.
#include <gradus/tensor/elementwise.h>

#include "tensor/backend/instantiate.h"
#include "tensor/cuda/map.h"

namespace gradus::cuda {
namespace {

template <class T, class Function>
struct Forward {
  Function function;
  __device__ T operator()(T x) const {
    return static_cast<T>(function.forward(static_cast<Compute<T>>(x)));
  }
};

template <class T, class Function>
struct Backward {
  Function function;
  __device__ T operator()(T dy, T saved) const {
    return static_cast<T>(
        function.backward(static_cast<Compute<T>>(dy), static_cast<Compute<T>>(saved)));
  }
  __device__ T operator()(T dy) const {
    return static_cast<T>(function.backward(static_cast<Compute<T>>(dy), Compute<T>{0}));
  }
};

template <class T>
struct Select {
  __device__ T operator()(std::uint8_t condition, T a, T b) const { return condition ? a : b; }
};

template <class T>
struct AddScaled {
  Compute<T> scale;
  __device__ T operator()(T y, T x) const { return static_cast<T>(y + scale * x); }
};

}  // namespace

template <class T, class Function>
void unary(Function function, const T* x, T* y, std::int64_t n) {
  map("unary", Forward<T, Function>{function}, y, n, x);
}

template <class T, class Function>
void unary_backward(Function function, const T* dy, const T* saved, T* dx, std::int64_t n) {
  const Backward<T, Function> backward{function};
  if constexpr (Function::saves == Saves::nothing) {
    map("unary_backward", backward, dx, n, dy);
  } else {
    map("unary_backward", backward, dx, n, dy, saved);
  }
}

template <class T>
void where(const std::uint8_t* condition, const T* a, const T* b, T* y, std::int64_t n) {
  map("where", Select<T>{}, y, n, condition, a, b);
}

template <class T>
void add_scaled(Compute<T> scale, const T* x, T* y, std::int64_t n) {
  map("add_scaled", AddScaled<T>{scale}, y, n, static_cast<const T*>(y), x);
}

GRADUS_UNARY_FUNCTIONS(GRADUS_INSTANTIATE_UNARY)
GRADUS_INSTANTIATE_FLOATS(where)
GRADUS_INSTANTIATE_FLOATS(add_scaled)

}  // namespace gradus::cuda
