// hnswlib's graph with walks and inserts of its own.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

// The distances of this addon are used, not hnswlib's.
#define NO_MANUAL_VECTORIZATION
#include <hnswlib.h>

#include "common.h"

namespace quiver {

enum class Metric : uint32_t { cosine = 0, euclidean = 1, dotProduct = 2 };

struct GraphSettings {
  size_t dimension;
  Metric metric;
  size_t m;
  size_t efConstruction;
  uint32_t seed;
};

constexpr uint32_t noSlot = 0xFFFFFFFF;

// A node and its distance as the graph orders: squared for euclidean, minus the inner product for the others.
struct Near {
  float distance;
  uint32_t slot;
  bool operator<(const Near& other) const { return distance < other.distance; }
};
struct Farther {
  bool operator()(const Near& a, const Near& b) const { return a.distance > b.distance; }
};

// What a graph search needs for itself; one per thread, for all graphs.
struct Scratch {
  void begin(size_t slots) {
    if (visited.size() < slots) visited.resize(slots);
    if (++round != 0) return;
    std::fill(visited.begin(), visited.end(), 0);
    round = 1;
  }
  bool visit(uint32_t slot) {
    if (visited[slot] == round) return false;
    visited[slot] = round;
    return true;
  }
  static Scratch& ofThread() {
    thread_local Scratch scratch;
    return scratch;
  }

  std::vector<uint16_t> visited;
  uint16_t round = 0;
  std::vector<Near> candidates;  // heap, nearest first
  std::vector<Near> best;        // heap, farthest first
  std::vector<uint32_t> links;
  std::vector<uint32_t> unseen;
};

// hnswlib's graph without its label table, visited lists and label locks, which nothing here uses: the slots are given
// out by VectorGraph, the labels are ordinals.
class Hnsw : public hnswlib::HierarchicalNSW<float> {
 public:
  using Heap = std::priority_queue<std::pair<float, hnswlib::tableint>,
                                   std::vector<std::pair<float, hnswlib::tableint>>, CompareByFirst>;
  using Link = hnswlib::linklistsizeint;

  Hnsw(hnswlib::SpaceInterface<float>* space, size_t capacity, const GraphSettings& settings)
      : HierarchicalNSW(space, capacity, settings.m, settings.efConstruction), seed_(settings.seed) {
    visited_list_pool_.reset();
    std::vector<std::mutex>().swap(label_op_locks_);
  }

  size_t count() const { return cur_element_count.load(std::memory_order_relaxed); }
  const float* vectorAt(uint32_t slot) const { return reinterpret_cast<const float*>(getDataByInternalId(slot)); }
  uint32_t ordinalAt(uint32_t slot) const { return static_cast<uint32_t>(getExternalLabel(slot)); }
  float distance(const float* query, uint32_t slot) const {
    return fstdistfunc_(query, getDataByInternalId(slot), dist_func_param_);
  }

  // Geometric in both: the paper's exponential level distribution from a hash, so that a loaded graph goes on with the
  // levels that it would have had.
  int levelOf(uint32_t slot) const {
    uint64_t z = (uint64_t{seed_} << 32 | slot) + 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    const double uniform = static_cast<double>(((z ^ z >> 31) >> 11) + 1) * 0x1p-53;
    return static_cast<int>(-std::log(uniform) * mult_);
  }

  // Puts a node without links into the next slot.
  uint32_t place(uint32_t ordinal, const float* vector) {
    const uint32_t slot = static_cast<uint32_t>(count());
    const int level = levelOf(slot);
    char* links = nullptr;
    if (level > 0) {
      links = static_cast<char*>(std::calloc(level, size_links_per_element_));
      if (links == nullptr) throw std::bad_alloc();
    }
    linkLists_[slot] = links;
    element_levels_[slot] = level;
    std::memset(get_linklist0(slot), 0, size_links_level0_);
    std::memcpy(getDataByInternalId(slot), vector, data_size_);
    setExternalLabel(slot, ordinal);
    upperBytes_ += level * size_links_per_element_;
    ++cur_element_count;
    return slot;
  }

  // Takes over the node that has been read into this slot's memory, with its lists above level 0.
  void adopt(uint32_t slot, int level, const uint32_t* upperLists) {
    const size_t bytes = level * size_links_per_element_;
    char* links = nullptr;
    if (level > 0) {
      links = static_cast<char*>(std::malloc(bytes));
      if (links == nullptr) throw std::bad_alloc();
      std::memcpy(links, upperLists, bytes);
    }
    linkLists_[slot] = links;
    element_levels_[slot] = level;
    upperBytes_ += bytes;
    ++cur_element_count;
  }

  // Links a placed node into the graph (algorithm 1 of the paper). In parallel with other inserts, not with searches.
  template <typename Accept>
  void insert(uint32_t slot, Accept accept) {
    std::unique_lock<std::mutex> top(global);
    std::unique_lock<std::mutex> own(link_list_locks_[slot]);
    const int level = element_levels_[slot];
    const int levels = maxlevel_;
    if (levels < 0) {
      enterpoint_node_ = slot;
      maxlevel_ = level;
      return;
    }
    Near at = {0, enterpoint_node_};
    if (level <= levels) top.unlock();
    const float* vector = vectorAt(slot);
    size_t compared = 0;  // nobody asks
    at.distance = distance(vector, at.slot);
    at = descend<true>(vector, at, levels, level, compared);
    Scratch& scratch = Scratch::ofThread();
    for (int l = std::min(level, levels); l >= 0; --l) {
      walk<true>(scratch, vector, at, l, ef_construction_, SIZE_MAX, compared, accept);
      if (scratch.best.empty()) scratch.best.push_back(at);  // only deleted nodes around: link to one of them
      std::vector<std::pair<float, hnswlib::tableint>> found;
      found.reserve(scratch.best.size() + 1);
      for (const Near& near : scratch.best) found.emplace_back(near.distance, near.slot);
      Heap heap(CompareByFirst(), std::move(found));
      at.slot = mutuallyConnectNewElement(vector, slot, heap, l, false);
      at.distance = distance(vector, at.slot);
    }
    if (level > levels) {
      enterpoint_node_ = slot;
      maxlevel_ = level;
    }
  }

  // Greedy walk through the levels above `to`, past `hidden`.
  template <bool locked>
  Near descend(const float* query, Near at, int from, int to, size_t& compared, uint32_t hidden = noSlot) {
    Scratch& scratch = Scratch::ofThread();
    for (int level = from; level > to; --level) {
      for (bool nearer = true; nearer;) {
        nearer = false;
        size_t size = 0;
        const uint32_t* links = linksOf<locked>(scratch, at.slot, level, size);
        compared += size;
        for (size_t i = 0; i < size; ++i) {
          if (links[i] == hidden) continue;
          const float d = distance(query, links[i]);
          if (d < at.distance) {
            at = {d, links[i]};
            nearer = true;
          }
        }
      }
    }
    return at;
  }

  // Algorithm 2 of the paper: leaves the up to `ef` nearest accepted nodes in scratch.best. False when more than
  // `budget` nodes would have to be visited. Goes past `hidden`, unless it is the entry.
  template <bool locked, typename Accept>
  bool walk(Scratch& scratch, const float* query, Near entry, int level, size_t ef, size_t budget, size_t& compared,
            Accept accept, uint32_t hidden = noSlot) {
    std::vector<Near>& candidates = scratch.candidates;
    std::vector<Near>& best = scratch.best;
    candidates.assign(1, entry);
    best.clear();
    scratch.begin(max_elements_);
    scratch.visit(entry.slot);
    if (hidden != noSlot) scratch.visit(hidden);
    if (accept(entry.slot)) best.push_back(entry);
    size_t visits = 1;
    while (!candidates.empty()) {
      const Near nearest = candidates.front();
      if (best.size() >= ef && nearest.distance > best.front().distance) break;
      std::pop_heap(candidates.begin(), candidates.end(), Farther());
      candidates.pop_back();
      collectUnseen<locked>(scratch, nearest.slot, level);
      visits += scratch.unseen.size();
      if (visits > budget) return false;
      compared += scratch.unseen.size();
      for (uint32_t slot : scratch.unseen) {
        const float d = distance(query, slot);
        if (best.size() >= ef && !(d < best.front().distance)) continue;
        candidates.push_back({d, slot});
        std::push_heap(candidates.begin(), candidates.end(), Farther());
        if (!accept(slot)) continue;
        best.push_back({d, slot});
        std::push_heap(best.begin(), best.end());
        if (best.size() <= ef) continue;
        std::pop_heap(best.begin(), best.end());
        best.pop_back();
      }
    }
    return true;
  }

  // Room for more nodes, as hnswlib's resizeIndex, but a failure leaves everything as it was.
  // `exclusively(change)` must run `change` when nobody reads the graph.
  template <typename Exclusively>
  void grow(size_t capacity, Exclusively exclusively) {
    std::vector<std::mutex> locks(capacity);
    std::vector<int> levels(capacity);
    std::copy(element_levels_.begin(), element_levels_.begin() + count(), levels.begin());
    exclusively([&] {
      void* lists = std::realloc(linkLists_, capacity * sizeof(char*));
      if (lists == nullptr) throw std::bad_alloc();
      linkLists_ = static_cast<char**>(lists);
      void* nodes = std::realloc(data_level0_memory_, capacity * size_data_per_element_);
      if (nodes == nullptr) throw std::bad_alloc();
      data_level0_memory_ = static_cast<char*>(nodes);
      link_list_locks_.swap(locks);
      element_levels_.swap(levels);
      max_elements_ = capacity;
    });
  }

  size_t bytesBesideVectors() const {
    return max_elements_ * (size_data_per_element_ - data_size_ + sizeof(std::mutex) + sizeof(int) + sizeof(char*)) +
           upperBytes_;
  }

 private:
  template <bool locked>
  const uint32_t* linksOf(Scratch& scratch, uint32_t slot, int level, size_t& size) {
    if constexpr (!locked) {
      Link* list = get_linklist_at_level(slot, level);
      size = getListCount(list);
      return list + 1;
    }
    std::lock_guard<std::mutex> lock(link_list_locks_[slot]);
    Link* list = get_linklist_at_level(slot, level);
    size = getListCount(list);
    scratch.links.assign(list + 1, list + 1 + size);
    return scratch.links.data();
  }

  // Begins to fetch the vectors into the cache while the other neighbors are looked up; what follows the first four
  // lines the processor fetches by itself.
  template <bool locked>
  void collectUnseen(Scratch& scratch, uint32_t slot, int level) {
    size_t size = 0;
    const uint32_t* links = linksOf<locked>(scratch, slot, level, size);
    scratch.unseen.clear();
    for (size_t i = 0; i < size; ++i) {
      if (!scratch.visit(links[i])) continue;
      const char* vector = getDataByInternalId(links[i]);
      for (size_t offset = 0; offset < 256; offset += 64) __builtin_prefetch(vector + offset);
      scratch.unseen.push_back(links[i]);
    }
  }

  const uint32_t seed_;
  size_t upperBytes_ = 0;
};

}  // namespace quiver
