// Sizes that ops hand to kernels: plain structs, the same for every back end.
#pragma once

#include <array>
#include <cstdint>

#include <gradus/tensor/host_device.h>
#include <gradus/tensor/size2.h>

namespace gradus {

/// input [N, H, W, C], weight [O, kernel.height, kernel.width, C / groups],
/// output [N, out_height, out_width, O].
struct Conv2dGeometry {
  std::int64_t N, H, W, C, O;
  std::int64_t out_height, out_width;
  Size2 kernel = 1, stride = 1, padding = 0, dilation = 1;
  std::int64_t groups = 1;
  bool winograd = true;  ///< whether Winograd's algorithm may be used

  std::int64_t output_pixels() const { return N * out_height * out_width; }
  /// Of the matrix whose rows are output pixels' windows of one group: kH kW C / groups.
  std::int64_t columns() const { return kernel.height * kernel.width * (C / groups); }
  /// Whether that matrix is the input itself: kernel 1x1, stride 1, no padding.
  bool is_pointwise() const {
    return kernel == Size2(1) && stride == Size2(1) && padding == Size2(0);
  }
};

/// input [N, H, W, C], output [N, out_height, out_width, C].
struct Pool2dGeometry {
  std::int64_t N, H, W, C;
  std::int64_t out_height, out_width;
  Size2 kernel = 1, stride = 1, padding = 0;
  bool count_include_pad = true;  ///< average pooling: whether padding counts in the divisor
};

/// c[batch][m, n] = scale op(a[batch]) op(b[batch]), op = transpose where asked for, so that op(a)
/// is [m, k] and op(b) is [k, n].
struct MatmulGeometry {
  std::int64_t batch, m, n, k;
  bool transpose_a = false, transpose_b = false;
  double scale = 1;
  bool symmetric = false;  // m = n; a kernel may compute one triangle and copy it
};

/// Input seen as [outer, reduce, inner]; the output is [outer, inner].
struct ReduceGeometry {
  std::int64_t outer, reduce, inner;
};

/// Strided reading of a contiguous output's elements: output axis i has `size[i]` elements and
/// moves the inputs by stride_a[i] and stride_b[i] elements (0 where an input is broadcast). There
/// is at least one axis; neighbours are merged where both inputs allow it.
struct StridedGeometry {
  int rank = 1;
  std::array<std::int64_t, 8> size{1};
  std::array<std::int64_t, 8> stride_a{1};
  std::array<std::int64_t, 8> stride_b{1};
  std::int64_t numel = 1;

  /// The next axis of the output, which is its last one so far.
  void add_axis(std::int64_t count, std::int64_t a, std::int64_t b) {
    if (count == 1) return;
    const int last = rank - 1;
    const bool merges = stride_a[last] == a * count && stride_b[last] == b * count;
    if (numel != 1 && !merges) size[rank++] = 1;
    size[rank - 1] *= count;
    stride_a[rank - 1] = a;
    stride_b[rank - 1] = b;
    numel *= count;
  }
};

/// Where an output row (all axes but the last) begins in the two inputs.
template <class Index>
struct RowOffsets {
  Index a = 0, b = 0;
};

template <class Index>
GRADUS_HOST_DEVICE RowOffsets<Index> row_offsets(const StridedGeometry& g, Index row) {
  RowOffsets<Index> offsets;
  for (int axis = g.rank - 2; axis >= 0; --axis) {
    const Index size = static_cast<Index>(g.size[axis]);
    const Index position = row % size;
    offsets.a += position * static_cast<Index>(g.stride_a[axis]);
    offsets.b += position * static_cast<Index>(g.stride_b[axis]);
    row /= size;
  }
  return offsets;
}

}  // namespace gradus
