// A built-in data set, for machines without CIFAR-10: shapes and textures in random colours on
// cluttered backgrounds.
#pragma once

#include <cstdint>

#include <gradus/data/dataset.h>

namespace gradus::data {

/// `count` images, 1 to 100 million, uint8 [count, 32, 32, 3], with labels of 10 classes. Image i
/// shows class i mod 10: disc, square, triangle, star, cross, ring (filled shapes), stripes,
/// checkers, dots, bullseye (textures on a random patch), at a random place, size and angle, in
/// random colours, over a background with distractors, under uneven light and noise. Colours say
/// nothing about the class. The normalisation is CIFAR-10's, so that what is trained on either
/// takes the other.
///
/// Image i depends only on (seed, split, i): its numbers are those of Philox with key `seed` and
/// counter words (block, i, Domain::synthetic + split, 0). Images are made in parallel.
Dataset synthetic_dataset(std::int64_t count, Split split, std::uint64_t seed = 0);

}  // namespace gradus::data
