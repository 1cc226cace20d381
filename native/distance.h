// Distances between float32 vectors, with the widest vector instructions of the processor that runs them.
#pragma once

#include <cstddef>

namespace quiver {

// The signature that hnswlib asks for: two vectors (of any alignment) and a pointer to their size_t dimension.
using DistanceFunction = float (*)(const void*, const void*, const void*);

struct Distances {
  DistanceFunction squaredL2;
  // Minus the inner product. Never NaN: products that overflow to both infinities count as +infinity.
  DistanceFunction negativeDot;
};

// Chosen once per process. The environment variable QUIVER_SIMD (avx512, avx2 or generic) asks for less than the
// processor has, so that a test reaches every kernel.
const Distances& distances();

}  // namespace quiver
