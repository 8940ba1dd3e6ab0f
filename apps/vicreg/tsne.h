// A map of features in the plane.
#pragma once

#include <cstdint>
#include <vector>

#include <gradus/tensor/tensor.h>

namespace gradus::vicreg {

/// How tsne lays out points.
struct TsneOptions {
  double perplexity = 30;  ///< about how many neighbours of a point count; at most (N - 1) / 3
  int iterations = 500;    ///< steps of gradient descent
  std::uint64_t seed = 0;  ///< of the places where the points start
};

/// t-SNE (van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 2008), exact: points
/// whose features have a high cosine similarity come to lie together. Features [N, F] float32 -> N
/// pairs x, y, one after the other, each from -1 to 1. The same for any number of threads. N^2 work
/// an iteration: meant for a thousand points.
std::vector<double> tsne(const Tensor& features, const TsneOptions& options = {});

}  // namespace gradus::vicreg
