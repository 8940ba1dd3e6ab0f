// Embeddings of several views of the same images, as the self-supervised losses take them.
#pragma once

#include <string_view>

#include <gradus/autograd/collectives.h>
#include <gradus/autograd/ops.h>
#include <gradus/tensor/check.h>

namespace gradus::nn {

/// Throws Error unless z is [views n, D] with views >= 2, D >= 1, and n >= 2 or, in all parts of
/// the batch together, at least 2.
inline void check_views(std::string_view loss, const Variable& z, std::int64_t views,
                        const Communicator* communicator) {
  const std::int64_t parts = communicator == nullptr ? 1 : communicator->size();
  check(views >= 2, loss, "it compares at least 2 views; got {}", views);
  check(z.shape().rank() == 2 && z.size(0) % views == 0 && z.size(0) * parts >= 2 * views &&
            z.size(1) >= 1,
        loss,
        "embeddings must be [{} views x images, dimensions], of at least 2 images and 1 dimension; "
        "got {}",
        views, z.shape());
}

/// The embeddings [views N, D] of the whole batch, from this member's [views n, D]; they are for a
/// loss that is the same for all members.
inline Variable gather_views(const Variable& z, std::int64_t views, Communicator& communicator) {
  const std::int64_t parts = communicator.size(), n = z.size(0) / views, d = z.size(1);
  const Variable by_part = all_gather(reshape(z, {views, n, d}), communicator, Downstream::same);
  return reshape(permute(by_part, {1, 0, 2, 3}), {views * parts * n, d});
}

}  // namespace gradus::nn
