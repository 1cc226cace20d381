// The vectors of one partition: an unindexed tail and an HNSW graph.
//
// Who may touch what:
//   tail, location table, counts, deleted marks   under `mutex_`, held for microseconds
//   links and memory of the graph                 read in the search room, changed in the build room of `rooms_`; moved
//                                                 (grown) in the build room and under `mutex_`
//   vector and ordinal of a node                  written under `mutex_` before its slot is known to anybody
// A row leaves the tail, and its slot becomes known, under `mutex_` in the build room: what a search finds when it
// enters the search room (`view`) is every live vector once, in the tail or in the graph.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <thread>

#include "distance.h"
#include "hnsw-graph.h"
#include "room-lock.h"
#include "vector-tail.h"

namespace quiver {

struct GraphStats {
  size_t indexed, unindexed, deleted, vectorBytes, graphBytes;
};

class VectorGraph {
 public:
  explicit VectorGraph(const GraphSettings& settings)
      : settings_(settings), space_(settings), tail_(settings.dimension) {}

  const GraphSettings& settings() const { return settings_; }

  // Ends a build early.
  void stop() { stopped_ = true; }

  // For each vector the factor that normalises it (1 unless cosine). Throws for values that are not finite.
  std::vector<double> scales(const float* vectors, size_t count, const char* what) const;

  void scaled(const float* from, double scale, float* to) const {
    if (settings_.metric != Metric::cosine) {
      std::memcpy(to, from, settings_.dimension * sizeof(float));
      return;
    }
    for (size_t i = 0; i < settings_.dimension; ++i) to[i] = static_cast<float>(from[i] * scale);
  }

  void add(const uint32_t* ordinals, const float* vectors, size_t count);
  void remove(const uint32_t* ordinals, size_t count);
  bool get(uint32_t ordinal, float* vector) const;
  GraphStats stats() const;

  // Moves up to `most` vectors into the graph until `stop` (which may come from any thread).
  size_t build(size_t most, size_t threads, const std::function<bool()>& stop);

  // Everything that was live when it was taken: the tail's rows, and the graph's slots below `slots` that are not
  // marked. `pages` leads from an ordinal below `ordinalsEnd` to its slot.
  struct View {
    std::vector<TailSpan> tail;
    size_t slots = 0;
    size_t indexed = 0;
    std::vector<const LocationTable::Page*> pages;
  };
  View view(size_t ordinalsEnd) const {
    InRoom room(rooms_, Room::search);
    std::lock_guard<std::mutex> lock(mutex_);
    return {tail_.spans(), slots(), slots() - deletedCount_, locations_.view(ordinalsEnd)};
  }

  // The vectors of ordinals, null where one is not held, to be read while the caller stays in the search room: there
  // no row goes to the graph, and `chunks` keeps those of the tail that are removed meanwhile.
  struct Rows {
    std::vector<const float*> vectors;
    std::vector<std::shared_ptr<const TailChunk>> chunks;
  };
  Rows rowsOf(const uint32_t* ordinals, size_t count) const;

  RoomLock& rooms() const { return rooms_; }
  // In the search room; null before the first build.
  Hnsw* graph() const { return graph_.get(); }
  bool isDeleted(uint32_t slot) const { return deleted_[slot / 32].load(std::memory_order_relaxed) >> slot % 32 & 1; }

  float distance(const float* query, const float* vector) const {
    return space_.get_dist_func()(query, vector, &settings_.dimension);
  }

  // From the graph's order to the metric's distance.
  float answer(float distance) const {
    switch (settings_.metric) {
      case Metric::cosine:
        return std::min(std::max(1.0f + distance, 0.0f), 2.0f);
      case Metric::euclidean:
        return std::sqrt(distance);
      case Metric::dotProduct:
        return distance;
    }
    return distance;
  }

 private:
  friend class GraphFile;

  class Space : public hnswlib::SpaceInterface<float> {
   public:
    explicit Space(const GraphSettings& settings)
        : dimension_(settings.dimension),
          function_(settings.metric == Metric::euclidean ? distances().squaredL2 : distances().negativeDot) {}
    size_t get_data_size() override { return dimension_ * sizeof(float); }
    DistanceFunction get_dist_func() override { return function_; }
    DistanceFunction get_dist_func() const { return function_; }
    void* get_dist_func_param() override { return &dimension_; }

   private:
    size_t dimension_;
    DistanceFunction function_;
  };

  size_t slots() const { return graph_ == nullptr ? 0 : graph_->count(); }
  void requireNew(const uint32_t* ordinals, size_t count) const;
  void markDeleted(uint32_t slot) {
    deleted_[slot / 32].fetch_or(1u << slot % 32, std::memory_order_relaxed);
    ++deletedCount_;
  }
  void makeRoom(size_t slots);
  bool moveOldest(uint32_t& slot);
  void buildOnThisThread(std::atomic<size_t>& left, const std::function<bool()>& stop);

  const GraphSettings settings_;
  Space space_;
  std::atomic<bool> stopped_{false};

  mutable RoomLock rooms_;
  mutable std::mutex mutex_;
  Tail tail_;
  LocationTable locations_;
  std::unique_ptr<Hnsw> graph_;
  std::unique_ptr<std::atomic<uint32_t>[]> deleted_;  // a bit per slot
  size_t deletedCount_ = 0;
  bool appending_ = false;
};

inline void requireDistinct(const uint32_t* ordinals, size_t count) {
  if (std::adjacent_find(ordinals, ordinals + count, std::greater_equal<>()) == ordinals + count) return;
  std::vector<uint32_t> sorted(ordinals, ordinals + count);
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) invalid("ordinals must be distinct: " + std::to_string(*twice) + " is there twice");
}

inline std::vector<double> VectorGraph::scales(const float* vectors, size_t count, const char* what) const {
  const size_t dimension = settings_.dimension;
  const DistanceFunction negativeDot = distances().negativeDot;
  std::vector<double> scales(count, 1.0);
  for (size_t i = 0; i < count; ++i) {
    const float* vector = vectors + i * dimension;
    double squares = -negativeDot(vector, vector, &dimension);
    if (!(squares > 1e-20 && squares < 1e30)) {  // the sum may have lost bits, or a value is not finite
      squares = 0;
      for (size_t j = 0; j < dimension; ++j) squares += static_cast<double>(vector[j]) * vector[j];
      if (!std::isfinite(squares))
        invalid(std::string(what) + " must be finite: number " + std::to_string(i) + " is not");
    }
    if (settings_.metric != Metric::cosine) continue;
    if (squares == 0)
      invalid(std::string(what) + " must not be all zeros for cosine: number " + std::to_string(i) + " is");
    scales[i] = 1 / std::sqrt(squares);
  }
  return scales;
}

inline void VectorGraph::requireNew(const uint32_t* ordinals, size_t count) const {
  requireDistinct(ordinals, count);
  for (size_t i = 0; i < count; ++i) {
    if (ordinals[i] == nowhere) invalid("ordinals must be below 4294967295");
    if (locations_.get(ordinals[i]) != nowhere) {
      invalid("ordinals must be new: " + std::to_string(ordinals[i]) + " is held");
    }
  }
}

inline void VectorGraph::add(const uint32_t* ordinals, const float* vectors, size_t count) {
  if (count == 0) return;
  const std::vector<double> factors = scales(vectors, count, "vectors");
  std::vector<TailSpan> rows;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    requireNew(ordinals, count);
    for (size_t i = 0; i < count; ++i) locations_.reserve(ordinals[i]);
    rows = tail_.plan(count);
    appending_ = true;
  }
  // Without the lock: nobody knows of these rows yet.
  size_t i = 0;
  for (const TailSpan& span : rows) {
    for (size_t row = span.first; row < span.last; ++row, ++i) {
      scaled(vectors + i * settings_.dimension, factors[i], span.chunk->vectors.get() + row * settings_.dimension);
    }
  }
  std::lock_guard<std::mutex> lock(mutex_);
  appending_ = false;
  tail_.append(rows, ordinals, locations_);
}

inline void VectorGraph::remove(const uint32_t* ordinals, size_t count) {
  requireDistinct(ordinals, count);
  std::lock_guard<std::mutex> lock(mutex_);
  for (size_t i = 0; i < count; ++i) {
    if (locations_.get(ordinals[i]) == nowhere) {
      invalid("ordinals must be held: " + std::to_string(ordinals[i]) + " is unknown");
    }
  }
  for (size_t i = 0; i < count; ++i) {
    const Location location = locations_.get(ordinals[i]);
    locations_.set(ordinals[i], nowhere);
    if (location & tailBit) {
      tail_.remove(location, locations_);
    } else {
      markDeleted(location);
    }
  }
}

inline bool VectorGraph::get(uint32_t ordinal, float* vector) const {
  std::lock_guard<std::mutex> lock(mutex_);
  const Location location = locations_.get(ordinal);
  if (location == nowhere) return false;
  const float* held = location & tailBit ? tail_.vectorAt(location) : graph_->vectorAt(location);
  std::memcpy(vector, held, settings_.dimension * sizeof(float));
  return true;
}

inline VectorGraph::Rows VectorGraph::rowsOf(const uint32_t* ordinals, size_t count) const {
  Rows rows;
  rows.vectors.resize(count);
  std::lock_guard<std::mutex> lock(mutex_);
  for (size_t i = 0; i < count; ++i) {
    const Location location = locations_.get(ordinals[i]);
    if (location == nowhere) continue;
    if (location & tailBit) {
      const std::shared_ptr<TailChunk>& chunk = tail_.chunkOf(location);
      if (rows.chunks.empty() || rows.chunks.back() != chunk) rows.chunks.push_back(chunk);
      rows.vectors[i] = tail_.vectorAt(location);
    } else {
      rows.vectors[i] = graph_->vectorAt(location);
    }
  }
  return rows;
}

inline GraphStats VectorGraph::stats() const {
  std::lock_guard<std::mutex> lock(mutex_);
  const size_t capacity = graph_ == nullptr ? 0 : graph_->max_elements_;
  return {slots() - deletedCount_, tail_.live(), deletedCount_,
          (capacity + tail_.capacity()) * settings_.dimension * sizeof(float),
          locations_.bytes() + capacity / 8 + (graph_ == nullptr ? 0 : graph_->bytesBesideVectors())};
}

// Grows the graph to hold `slots`; at the begin of a build, when no insert runs.
inline void VectorGraph::makeRoom(size_t slots) {
  const size_t capacity = graph_ == nullptr ? 0 : graph_->max_elements_;
  if (slots <= capacity) return;
  if (slots >= tailBit) throw Failure("OUT_OF_MEMORY", "Cannot hold more than 2147483648 vectors in one graph");
  const size_t wanted = std::max<size_t>({slots, capacity + capacity / 2, 256});
  const size_t words = wanted / 32 + 1;
  std::unique_ptr<std::atomic<uint32_t>[]> deleted(new std::atomic<uint32_t>[words]());
  std::unique_ptr<Hnsw> graph;
  try {
    if (graph_ == nullptr) graph = std::make_unique<Hnsw>(&space_, wanted, settings_);
  } catch (const std::runtime_error&) {
    throw std::bad_alloc();  // how hnswlib says it
  }
  const auto exclusively = [&](const auto& change) {
    InRoom room(rooms_, Room::build);
    std::lock_guard<std::mutex> lock(mutex_);
    change();
    for (size_t word = 0; word < (capacity + 31) / 32; ++word) deleted[word] = deleted_[word].load();
    deleted_.swap(deleted);
  };
  if (graph_ == nullptr) {
    exclusively([&] { graph_ = std::move(graph); });
  } else {
    graph_->grow(wanted, exclusively);
  }
}

// In the build room.
inline bool VectorGraph::moveOldest(uint32_t& slot) {
  std::lock_guard<std::mutex> lock(mutex_);
  const Location location = tail_.oldest();
  if (location == nowhere || slots() >= graph_->max_elements_) return false;
  const uint32_t ordinal = tail_.ordinalAt(location);
  slot = graph_->place(ordinal, tail_.vectorAt(location));
  locations_.set(ordinal, slot);
  tail_.oldestWasMoved();
  return true;
}

inline void VectorGraph::buildOnThisThread(std::atomic<size_t>& left, const std::function<bool()>& stop) {
  using Clock = std::chrono::steady_clock;
  const auto live = [this](uint32_t slot) { return !isDeleted(slot); };
  for (bool more = true; more;) {
    InRoom room(rooms_, Room::build);
    const Clock::time_point end = Clock::now() + std::chrono::milliseconds(2);
    while (more && !(rooms_.isAwaited(Room::search) && Clock::now() >= end)) {
      size_t before = left.load();
      while (before > 0 && !left.compare_exchange_weak(before, before - 1)) continue;
      uint32_t slot = 0;
      more = before > 0 && !stopped_ && !stop() && moveOldest(slot);
      if (more) {
        graph_->insert(slot, live);
      } else if (before > 0) {
        ++left;
      }
    }
  }
}

inline size_t VectorGraph::build(size_t most, size_t threads, const std::function<bool()>& stop) {
  size_t count = 0;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    count = std::min(most, tail_.live());
    if (count > 0) count += slots();
  }
  makeRoom(count);
  std::atomic<size_t> left{count == 0 ? 0 : std::min(most, count - slots())};
  const size_t planned = left;
  std::exception_ptr failure;
  std::mutex failureMutex;
  const auto work = [&] {
    try {
      buildOnThisThread(left, stop);
    } catch (...) {
      std::lock_guard<std::mutex> lock(failureMutex);
      failure = std::current_exception();
    }
  };
  std::vector<std::thread> helpers;
  try {
    // A helper for fewer than a hundred vectors is not worth its start.
    const size_t useful = std::min(threads, planned / 100 + 1);
    helpers.reserve(useful);
    while (helpers.size() + 1 < useful) helpers.emplace_back(work);
  } catch (const std::system_error&) {
    // Fewer threads do the same work.
  }
  if (planned > 0) work();
  for (std::thread& helper : helpers) helper.join();
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!appending_) tail_.trim();
  }
  if (failure != nullptr) std::rethrow_exception(failure);
  return planned - left;
}

}  // namespace quiver
