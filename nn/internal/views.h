// Embeddings of several views of the same images, as the self-supervised losses take them.
#pragma once

#include <string_view>

#include <gradus/autograd/variable.h>

namespace gradus::nn {

/// Throws Error unless z is [views N, D] with views >= 2, N >= 2, D >= 1.
inline void check_views(std::string_view loss, const Variable& z, std::int64_t views) {
  check(views >= 2, loss, "it compares at least 2 views; got {}", views);
  check(z.shape().rank() == 2 && z.size(0) % views == 0 && z.size(0) >= 2 * views && z.size(1) >= 1,
        loss,
        "embeddings must be [{} views x images, dimensions], of at least 2 images and 1 dimension; "
        "got {}",
        views, z.shape());
}

}  // namespace gradus::nn
