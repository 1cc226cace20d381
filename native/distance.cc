#include "distance.h"

#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// Every kernel keeps four sums, so that the additions of neighboring steps do not wait for each other.
namespace quiver {
namespace {

size_t dimensionOf(const void* dimension) { return *static_cast<const size_t*>(dimension); }

float withoutNan(float distance) { return distance == distance ? distance : std::numeric_limits<float>::infinity(); }

// SSE on x86-64, NEON on AArch64.
using Lanes = float __attribute__((vector_size(16)));

inline Lanes load(const float* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

template <typename Step, typename Last>
inline float accumulate(const float* a, const float* b, size_t n, Step step, Last last) {
  Lanes s0 = {}, s1 = {}, s2 = {}, s3 = {};
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    s0 = step(s0, load(a + i), load(b + i));
    s1 = step(s1, load(a + i + 4), load(b + i + 4));
    s2 = step(s2, load(a + i + 8), load(b + i + 8));
    s3 = step(s3, load(a + i + 12), load(b + i + 12));
  }
  for (; i + 4 <= n; i += 4) s0 = step(s0, load(a + i), load(b + i));
  Lanes sum = (s0 + s1) + (s2 + s3);
  float total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  for (; i < n; ++i) total = last(total, a[i], b[i]);
  return total;
}

float genericSquaredL2(const void* a, const void* b, const void* dimension) {
  auto step = [](auto sum, auto x, auto y) { return sum + (x - y) * (x - y); };
  return accumulate(static_cast<const float*>(a), static_cast<const float*>(b), dimensionOf(dimension), step, step);
}

float genericNegativeDot(const void* a, const void* b, const void* dimension) {
  auto step = [](auto sum, auto x, auto y) { return sum + x * y; };
  return withoutNan(
      -accumulate(static_cast<const float*>(a), static_cast<const float*>(b), dimensionOf(dimension), step, step));
}

constexpr Distances generic = {genericSquaredL2, genericNegativeDot};

#if defined(__x86_64__)

#define QUIVER_AVX2 __attribute__((target("avx2,fma")))

QUIVER_AVX2 inline __m256i firstLanes(size_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

QUIVER_AVX2 inline float sumOf(__m256 s0, __m256 s1, __m256 s2, __m256 s3) {
  __m256 lanes = _mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3));
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

QUIVER_AVX2 inline __m256 addSquare(__m256 sum, __m256 a, __m256 b) {
  __m256 difference = _mm256_sub_ps(a, b);
  return _mm256_fmadd_ps(difference, difference, sum);
}

QUIVER_AVX2 float avx2SquaredL2(const void* left, const void* right, const void* dimension) {
  const float* a = static_cast<const float*>(left);
  const float* b = static_cast<const float*>(right);
  size_t n = dimensionOf(dimension), i = 0;
  __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
  for (; i + 32 <= n; i += 32) {
    s0 = addSquare(s0, _mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i));
    s1 = addSquare(s1, _mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8));
    s2 = addSquare(s2, _mm256_loadu_ps(a + i + 16), _mm256_loadu_ps(b + i + 16));
    s3 = addSquare(s3, _mm256_loadu_ps(a + i + 24), _mm256_loadu_ps(b + i + 24));
  }
  for (; i + 8 <= n; i += 8) s0 = addSquare(s0, _mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i));
  if (i < n) {
    __m256i lanes = firstLanes(n - i);
    s1 = addSquare(s1, _mm256_maskload_ps(a + i, lanes), _mm256_maskload_ps(b + i, lanes));
  }
  return sumOf(s0, s1, s2, s3);
}

QUIVER_AVX2 float avx2NegativeDot(const void* left, const void* right, const void* dimension) {
  const float* a = static_cast<const float*>(left);
  const float* b = static_cast<const float*>(right);
  size_t n = dimensionOf(dimension), i = 0;
  __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
  for (; i + 32 <= n; i += 32) {
    s0 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), s0);
    s1 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), s1);
    s2 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 16), _mm256_loadu_ps(b + i + 16), s2);
    s3 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 24), _mm256_loadu_ps(b + i + 24), s3);
  }
  for (; i + 8 <= n; i += 8) s0 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), s0);
  if (i < n) {
    __m256i lanes = firstLanes(n - i);
    s1 = _mm256_fmadd_ps(_mm256_maskload_ps(a + i, lanes), _mm256_maskload_ps(b + i, lanes), s1);
  }
  return withoutNan(-sumOf(s0, s1, s2, s3));
}

#define QUIVER_AVX512 __attribute__((target("avx512f")))

QUIVER_AVX512 inline __mmask16 firstOf16(size_t count) { return static_cast<__mmask16>((1u << count) - 1); }

QUIVER_AVX512 inline float sumOf(__m512 s0, __m512 s1, __m512 s2, __m512 s3) {
  alignas(64) float halves[16];  // through memory: GCC 12 warns about its own _mm512_reduce_add_ps
  _mm512_store_ps(halves, _mm512_add_ps(_mm512_add_ps(s0, s1), _mm512_add_ps(s2, s3)));
  const __m256 none = _mm256_setzero_ps();
  return sumOf(_mm256_load_ps(halves), _mm256_load_ps(halves + 8), none, none);
}

QUIVER_AVX512 inline __m512 addSquare(__m512 sum, __m512 a, __m512 b) {
  __m512 difference = _mm512_sub_ps(a, b);
  return _mm512_fmadd_ps(difference, difference, sum);
}

QUIVER_AVX512 float avx512SquaredL2(const void* left, const void* right, const void* dimension) {
  const float* a = static_cast<const float*>(left);
  const float* b = static_cast<const float*>(right);
  size_t n = dimensionOf(dimension), i = 0;
  __m512 s0 = _mm512_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
  for (; i + 64 <= n; i += 64) {
    s0 = addSquare(s0, _mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i));
    s1 = addSquare(s1, _mm512_loadu_ps(a + i + 16), _mm512_loadu_ps(b + i + 16));
    s2 = addSquare(s2, _mm512_loadu_ps(a + i + 32), _mm512_loadu_ps(b + i + 32));
    s3 = addSquare(s3, _mm512_loadu_ps(a + i + 48), _mm512_loadu_ps(b + i + 48));
  }
  for (; i + 16 <= n; i += 16) s0 = addSquare(s0, _mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i));
  if (i < n) {
    __mmask16 lanes = firstOf16(n - i);
    s1 = addSquare(s1, _mm512_maskz_loadu_ps(lanes, a + i), _mm512_maskz_loadu_ps(lanes, b + i));
  }
  return sumOf(s0, s1, s2, s3);
}

QUIVER_AVX512 float avx512NegativeDot(const void* left, const void* right, const void* dimension) {
  const float* a = static_cast<const float*>(left);
  const float* b = static_cast<const float*>(right);
  size_t n = dimensionOf(dimension), i = 0;
  __m512 s0 = _mm512_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
  for (; i + 64 <= n; i += 64) {
    s0 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), s0);
    s1 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 16), _mm512_loadu_ps(b + i + 16), s1);
    s2 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 32), _mm512_loadu_ps(b + i + 32), s2);
    s3 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 48), _mm512_loadu_ps(b + i + 48), s3);
  }
  for (; i + 16 <= n; i += 16) s0 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), s0);
  if (i < n) {
    __mmask16 lanes = firstOf16(n - i);
    s1 = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(lanes, a + i), _mm512_maskz_loadu_ps(lanes, b + i), s1);
  }
  return withoutNan(-sumOf(s0, s1, s2, s3));
}

constexpr Distances avx2 = {avx2SquaredL2, avx2NegativeDot};
constexpr Distances avx512 = {avx512SquaredL2, avx512NegativeDot};

#endif

const Distances& choose() {
  const char* variable = std::getenv("QUIVER_SIMD");
  const std::string most = variable != nullptr ? variable : "avx512";
#if defined(__x86_64__)
  if (most == "avx512" && __builtin_cpu_supports("avx512f")) return avx512;
  if (most != "generic" && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2;
#endif
  return generic;
}

}  // namespace

const Distances& distances() {
  static const Distances& chosen = choose();
  return chosen;
}

}  // namespace quiver
