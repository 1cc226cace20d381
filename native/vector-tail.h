// The unindexed tail of a partition, and the table that says where the vector of an ordinal is.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "common.h"

namespace quiver {

// Where the vector of an ordinal is: a slot of the graph (below tailBit), a row of the tail (tailBit | chunk << 12 |
// row), or nowhere. The ordinal of a removed row is nowhere, too.
using Location = uint32_t;
constexpr Location nowhere = 0xFFFFFFFF;
constexpr Location tailBit = 0x80000000;
constexpr size_t rowBits = 12;
constexpr size_t chunkCountMost = (size_t{1} << (31 - rowBits)) - 1;

// Ordinal -> location, in pages that stay where they are, so that a search can read while new ordinals arrive.
class LocationTable {
 public:
  static constexpr size_t pageSize = 1024;
  struct Page {
    Location at(uint32_t ordinal) const { return locations[ordinal % pageSize].load(std::memory_order_relaxed); }
    std::array<std::atomic<Location>, pageSize> locations;
  };

  Location get(uint32_t ordinal) const {
    const size_t page = ordinal / pageSize;
    return page < pages_.size() && pages_[page] != nullptr ? pages_[page]->at(ordinal) : nowhere;
  }

  // Makes room for an ordinal; `set` then cannot fail.
  void reserve(uint32_t ordinal) {
    const size_t page = ordinal / pageSize;
    if (page >= pages_.size()) pages_.resize(page + 1);
    if (pages_[page] != nullptr) return;
    pages_[page] = std::make_unique<Page>();
    for (std::atomic<Location>& location : pages_[page]->locations) location.store(nowhere, std::memory_order_relaxed);
  }

  void set(uint32_t ordinal, Location location) {
    pages_[ordinal / pageSize]->locations[ordinal % pageSize].store(location, std::memory_order_relaxed);
  }

  // The pages of the ordinals below `end` (null: none of that page is known), for reading without a lock.
  std::vector<const Page*> view(size_t end) const {
    std::vector<const Page*> pages(std::min(pages_.size(), (end + pageSize - 1) / pageSize));
    for (size_t i = 0; i < pages.size(); ++i) pages[i] = pages_[i].get();
    return pages;
  }

  size_t bytes() const {
    const size_t used = std::count_if(pages_.begin(), pages_.end(), [](const auto& page) { return page != nullptr; });
    return pages_.capacity() * sizeof(pages_[0]) + used * sizeof(Page);
  }

 private:
  std::vector<std::unique_ptr<Page>> pages_;
};

// Rows [head, used) of a chunk belong to the tail; those before `head` have gone to the graph.
struct TailChunk {
  TailChunk(size_t rows, size_t dimension)
      : rows(rows), vectors(new float[rows * dimension]), ordinals(new std::atomic<uint32_t>[rows]) {}

  const size_t rows;
  const std::unique_ptr<float[]> vectors;
  const std::unique_ptr<std::atomic<uint32_t>[]> ordinals;
  size_t head = 0;
  size_t used = 0;
  size_t live = 0;
};

// Rows of a chunk, kept alive.
struct TailSpan {
  std::shared_ptr<TailChunk> chunk;
  size_t first;
  size_t last;
};

// Vectors in chunks, oldest first. Not thread-safe, except that vectors are copied into planned rows without a lock.
class Tail {
 public:
  explicit Tail(size_t dimension) : dimension_(dimension) {}

  size_t live() const { return live_; }
  size_t capacity() const { return capacity_; }

  std::vector<TailSpan> spans() const {
    std::vector<TailSpan> spans;
    spans.reserve(order_.size());
    for (uint32_t id : order_) {
      const std::shared_ptr<TailChunk>& chunk = chunks_[id];
      if (chunk->head < chunk->used) spans.push_back({chunk, chunk->head, chunk->used});
    }
    return spans;
  }

  const float* vectorAt(Location location) const {
    return chunkAt(location).vectors.get() + rowOf(location) * dimension_;
  }

  const std::shared_ptr<TailChunk>& chunkOf(Location location) const { return chunks_[idOf(location)]; }

  // Rows for `count` more vectors: the rest of the last chunk, then new chunks. Nothing changes until `append`.
  std::vector<TailSpan> plan(size_t count) const {
    std::vector<TailSpan> spans;
    if (!order_.empty()) {
      const std::shared_ptr<TailChunk>& last = chunks_[order_.back()];
      const size_t rows = std::min(count, last->rows - last->used);
      if (rows > 0) spans.push_back({last, last->used, last->used + rows});
      count -= rows;
    }
    for (size_t held = live_; count > 0;) {
      const size_t fitting = std::clamp<size_t>(chunkBytes / (dimension_ * sizeof(float)), 4, size_t{1} << rowBits);
      auto chunk =
          std::make_shared<TailChunk>(std::min(fitting, std::max<size_t>(16, std::max(held, count))), dimension_);
      const size_t rows = std::min(count, chunk->rows);
      spans.push_back({std::move(chunk), 0, rows});
      count -= rows;
      held += rows;
    }
    return spans;
  }

  // Publishes planned rows that have been filled; `locations` has room for the ordinals. All or nothing.
  void append(const std::vector<TailSpan>& spans, const uint32_t* ordinals, LocationTable& locations) {
    size_t fresh = 0;
    for (const TailSpan& span : spans) fresh += span.first == 0 ? 1 : 0;
    if (chunks_.size() + fresh > chunkCountMost + freeIds_.size()) {
      throw Failure("OUT_OF_MEMORY", "Cannot hold more vectors in the unindexed tail; build the graph first");
    }
    chunks_.reserve(chunks_.size() + fresh);
    freeIds_.reserve(chunks_.size() + fresh);
    order_.reserve(order_.size() + fresh);  // the last thing that can fail
    for (const TailSpan& span : spans) {
      if (span.first == 0) open(span.chunk);
      publish(order_.back(), span, ordinals, locations);
      ordinals += span.last - span.first;
    }
  }

  // Takes a row away. A chunk of which little is left gives the rest to the end of the tail, so that few survivors
  // do not hold much memory.
  void remove(Location location, LocationTable& locations) {
    const uint32_t id = idOf(location);
    TailChunk& chunk = *chunks_[id];
    chunk.ordinals[rowOf(location)] = nowhere;
    --chunk.live;
    --live_;
    if (chunk.live == 0 && chunk.used == chunk.rows) {
      drop(id);
    } else if (chunk.live * 4 <= chunk.rows - chunk.head && id != order_.back()) {
      moveToEnd(id, locations);
    }
  }

  // The oldest row, or nowhere. Drops chunks that are done.
  Location oldest() {
    while (!order_.empty()) {
      const uint32_t id = order_.front();
      TailChunk& chunk = *chunks_[id];
      while (chunk.head < chunk.used && chunk.ordinals[chunk.head] == nowhere) ++chunk.head;
      if (chunk.head < chunk.used) return locationOf(id, chunk.head);
      if (chunk.used < chunk.rows) return nowhere;  // the last chunk, which `add` may be filling
      drop(id);
    }
    return nowhere;
  }

  uint32_t ordinalAt(Location location) const { return chunkAt(location).ordinals[rowOf(location)]; }

  // After the oldest row has been copied to the graph.
  void oldestWasMoved() {
    TailChunk& chunk = *chunks_[order_.front()];
    ++chunk.head;
    --chunk.live;
    --live_;
  }

  // Frees an unfinished last chunk that holds nothing. Not while planned rows of it are being filled.
  void trim() {
    while (live_ == 0 && !order_.empty()) drop(order_.back());
  }

 private:
  static constexpr size_t chunkBytes = 256 << 10;

  static Location locationOf(uint32_t id, size_t row) { return tailBit | id << rowBits | static_cast<uint32_t>(row); }
  static uint32_t idOf(Location location) { return (location & ~tailBit) >> rowBits; }
  static size_t rowOf(Location location) { return location & ((1u << rowBits) - 1); }
  TailChunk& chunkAt(Location location) const { return *chunkOf(location); }

  void open(const std::shared_ptr<TailChunk>& chunk) {
    if (freeIds_.empty()) {
      freeIds_.push_back(static_cast<uint32_t>(chunks_.size()));
      chunks_.emplace_back();
    }
    order_.push_back(freeIds_.back());
    freeIds_.pop_back();
    chunks_[order_.back()] = chunk;
    capacity_ += chunk->rows;
  }

  void publish(uint32_t id, const TailSpan& span, const uint32_t* ordinals, LocationTable& locations) {
    for (size_t row = span.first; row < span.last; ++row) {
      const uint32_t ordinal = ordinals[row - span.first];
      span.chunk->ordinals[row] = ordinal;
      locations.set(ordinal, locationOf(id, row));
    }
    const size_t count = span.last - span.first;
    span.chunk->used += count;
    span.chunk->live += count;
    live_ += count;
  }

  void moveToEnd(uint32_t id, LocationTable& locations) {
    const std::shared_ptr<TailChunk> chunk = chunks_[id];
    std::vector<uint32_t> ordinals;
    try {
      std::vector<TailSpan> spans = plan(chunk->live);
      size_t from = chunk->head;
      for (const TailSpan& span : spans) {
        for (size_t row = span.first; row < span.last; ++row, ++from) {
          while (chunk->ordinals[from] == nowhere) ++from;
          ordinals.push_back(chunk->ordinals[from]);
          std::memcpy(span.chunk->vectors.get() + row * dimension_, chunk->vectors.get() + from * dimension_,
                      dimension_ * sizeof(float));
        }
      }
      append(spans, ordinals.data(), locations);
    } catch (const std::exception&) {
      return;  // no memory: the rows stay where they are
    }
    live_ -= chunk->live;
    drop(id);
  }

  void drop(uint32_t id) {
    capacity_ -= chunks_[id]->rows;
    chunks_[id].reset();
    freeIds_.push_back(id);
    order_.erase(std::find(order_.begin(), order_.end(), id));
  }

  const size_t dimension_;
  size_t live_ = 0;
  size_t capacity_ = 0;
  std::vector<std::shared_ptr<TailChunk>> chunks_;  // by id
  std::vector<uint32_t> freeIds_;                   // room for all ids is reserved, so that `drop` cannot fail
  std::vector<uint32_t> order_;                     // ids, oldest first
};

}  // namespace quiver
