// The random augmentation of self-supervised training, with torchvision's semantics on float images
// in [0, 1], but that crops are not antialiased. Drawing the random choices (small plain structs)
// and applying them are separate steps.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <gradus/data/augment_geometry.h>
#include <gradus/data/augment_options.h>
#include <gradus/data/dataset.h>
#include <gradus/tensor/tensor.h>

namespace gradus::data {

/// Which view of which sample is drawn. A view's parameters depend on nothing else.
struct ViewId {
  std::uint64_t seed = 0;
  std::int64_t epoch = 0;
  std::int64_t sample = 0;  ///< index in the data set
  int view = 0;
};

/// Draws the parameters for an image of `height` x `width`. The numbers are those of Philox with
/// key `seed` and counter words (block, sample, Domain::augment + view, epoch): block 0 decides
/// what is applied, block 1 holds the jitter's factors, block 2 its order and the blur, and block 3
/// + k the k-th of up to 10 tries for a crop that fits. So no choice depends on another option's
/// value.
AugmentParameters draw_parameters(const AugmentOptions& options, int height, int width,
                                  const ViewId& id);

/// Throws Error unless images [height, width, channels] have at most 2^14 pixels a side, and the
/// values of one of them, or of one view, can be counted in an int.
void check_image_size(const AugmentOptions& options, std::int64_t height, std::int64_t width,
                      std::int64_t channels);

/// Makes views on the device where `images` (uint8 [N, H, W, C]) lies: `output` there, float32
/// [V, view height, view width, C], gets views[0 .. V-1]. On the CPU the calling thread works
/// alone, so that several can make batches side by side; the GPU's pixels differ from the CPU's by
/// rounding. Throws Error if shapes, types or devices do not fit, or a sample or crop lies outside.
void augment(const AugmentOptions& options, const Normalization& normalization,
             std::span<const AugmentedView> views, const Tensor& images, Tensor& output);

/// What `apply` works in; one a thread, reused from image to image.
struct AugmentScratch {
  GeometryScratch geometry;
  std::vector<float> planes;  // [channels, view height, view width]
};

/// Makes one view on the CPU: `image` uint8 [height, width, channels], `output` float [view height,
/// view width, channels]. The crop box must lie within the image.
void apply(const AugmentOptions& options, const ViewFormat& format,
           const AugmentParameters& parameters, const std::uint8_t* image, float* output,
           AugmentScratch& scratch);

}  // namespace gradus::data
