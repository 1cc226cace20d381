// Searches a VectorGraph for a batch of queries on the threads of a pool.
#pragma once

#include <atomic>
#include <optional>

#include "thread-pool.h"
#include "vector-graph.h"

namespace quiver {

struct SearchRequest {
  std::vector<float> queries;  // normalised for cosine
  size_t count;
  size_t k;
  size_t efSearch;
  bool exact;
  std::optional<std::vector<uint32_t>> allowed;
  std::vector<uint32_t> without;  // an ordinal per query, or empty
  size_t visitBudget;
};

struct Hit {
  float distance;
  uint32_t ordinal;
  bool operator<(const Hit& other) const {
    return distance < other.distance || (distance == other.distance && ordinal < other.ordinal);
  }
};

// The k least hits, as a heap with the greatest in front.
class Hits {
 public:
  explicit Hits(size_t k = 0) : k_(k) {}

  // Distances above are not wanted.
  float bound() const { return hits_.size() < k_ ? std::numeric_limits<float>::infinity() : hits_.front().distance; }

  void offer(Hit hit) {
    if (hits_.size() < k_) {
      hits_.push_back(hit);
      std::push_heap(hits_.begin(), hits_.end());
    } else if (hit < hits_.front()) {
      std::pop_heap(hits_.begin(), hits_.end());
      hits_.back() = hit;
      std::push_heap(hits_.begin(), hits_.end());
    }
  }

  std::vector<Hit>& all() { return hits_; }

 private:
  size_t k_;
  std::vector<Hit> hits_;
};

// What came out, as arrays one after the other: counts, compared (one u32 a query each), ordinals (u32), distances
// (float32, one a result each), exact (u8, one a query).
struct SearchOutcome {
  size_t queries = 0;
  size_t results = 0;
  std::vector<uint8_t> bytes;
};

// A search goes through one or two phases of units of work, which up to all threads of the pool claim one after the
// other. First the tail and, for each query, either the walk through the graph or all of the graph; then all of the
// graph for the queries whose walk ran out of its budget or found fewer results than there are.
class Search : public std::enable_shared_from_this<Search> {
 public:
  // Gets null when memory ran out.
  using Done = std::function<void(std::shared_ptr<SearchOutcome>)>;

  Search(std::shared_ptr<const VectorGraph> graph, ThreadPool& pool, SearchRequest request,
         std::function<bool()> cancelled, Done done)
      : graph_(std::move(graph)),
        pool_(pool),
        request_(std::move(request)),
        cancelled_(std::move(cancelled)),
        done_(std::move(done)),
        hits_(request_.count, Hits(request_.k)),
        compared_(request_.count),
        answered_(request_.count, request_.exact ? byScan : byWalk) {}

  // `here`: on this thread for one shift, and in most cases to the end, unless a build could hold it up.
  void start(bool here) {
    if (here && !graph_->rooms().isWanted(Room::build)) return begin();
    pool_.post([self = shared_from_this()] { self->begin(); });
  }

 private:
  using Clock = std::chrono::steady_clock;
  enum Answered : uint8_t { byWalk = 0, byScan = 1, unanswered = 2 };

  // Queries are compared in groups with blocks of vectors that stay in the cache.
  static constexpr size_t groupSize = 16;
  static constexpr size_t blockRows = 16;
  // Products per unit, so that a unit holds the search room for a fraction of a millisecond.
  static constexpr size_t unitProducts = 1 << 20;
  // How long a thread works for one search before the searches behind it have their turn.
  static constexpr std::chrono::milliseconds shift{2};

  struct Phase {
    Phase(const Search& search, std::vector<uint32_t> of, bool walks, bool tail, bool graph) : queries(std::move(of)) {
      const size_t group = std::min(groupSize, queries.size());
      groups = (queries.size() + groupSize - 1) / groupSize;
      walkUnits = walks ? queries.size() : 0;
      tailUnits = tail ? search.view_.tail.size() * groups : 0;
      rowsPerUnit = std::max(unitProducts / (search.graph_->settings().dimension * group), blockRows);
      rows = !graph ? 0 : search.request_.allowed ? search.allowedSlots_.size() : search.view_.slots;
      units = walkUnits + tailUnits + (rows + rowsPerUnit - 1) / rowsPerUnit * groups;
      open = units;
      size_t scanned = rows;
      for (const TailSpan& span : search.view_.tail) scanned += tail ? span.last - span.first : 0;
      const size_t products = scanned * search.graph_->settings().dimension * queries.size();
      // To wake a thread for a scan of a few microseconds would cost more than the scan.
      threads = std::clamp<size_t>(walkUnits + products / unitProducts, 1, search.pool_.size());
    }

    std::vector<uint32_t> queries;
    size_t groups, walkUnits, tailUnits, rowsPerUnit, rows, units, threads;
    std::atomic<size_t> next{0};
    std::atomic<size_t> open;
  };

  void begin() {
    guarded([&] {
      view_ = graph_->view(ordinalsEnd());
      std::vector<uint32_t> queries(request_.count);
      for (size_t i = 0; i < queries.size(); ++i) queries[i] = static_cast<uint32_t>(i);
      if (request_.exact) listAllowedSlots();
      const bool walks = !request_.exact && view_.slots > 0;
      run(std::make_shared<Phase>(*this, std::move(queries), walks, true, request_.exact));
    });
  }

  template <typename Work>
  void guarded(Work work) {
    try {
      work();
    } catch (const std::exception&) {
      // Nothing but bad_alloc is thrown here.
      if (!finished_.exchange(true)) done_(nullptr);
    }
  }

  void run(const std::shared_ptr<Phase>& phase) {
    if (phase->units == 0) return finish();
    for (size_t i = 1; i < phase->threads; ++i) post(phase);
    work(phase);
  }

  void post(const std::shared_ptr<Phase>& phase) {
    pool_.post([self = shared_from_this(), phase] { self->guarded([&] { self->work(phase); }); });
  }

  void work(const std::shared_ptr<Phase>& phase) {
    const Clock::time_point end = Clock::now() + shift;
    for (;;) {
      const size_t unit = phase->next++;
      if (unit >= phase->units) return;
      if (!finished_ && !cancelled_()) runUnit(*phase, unit);
      if (--phase->open == 0) return endPhase(*phase);
      if (Clock::now() >= end) return post(phase);
    }
  }

  void runUnit(const Phase& phase, size_t unit) {
    if (unit < phase.walkUnits) return walk(phase.queries[unit]);
    unit -= phase.walkUnits;
    const bool inTail = unit < phase.tailUnits;
    if (!inTail) unit -= phase.tailUnits;
    const size_t first = unit % phase.groups * groupSize;
    const uint32_t* queries = phase.queries.data() + first;
    const size_t count = std::min(groupSize, phase.queries.size() - first);
    const size_t part = unit / phase.groups;
    if (inTail) {
      scanTail(view_.tail[part], queries, count);
    } else {
      scanGraph(part * phase.rowsPerUnit, std::min((part + 1) * phase.rowsPerUnit, phase.rows), queries, count);
    }
  }

  void endPhase(const Phase& phase) {
    std::vector<uint32_t> again;
    for (uint32_t query : phase.queries) {
      if (answered_[query] == unanswered) again.push_back(query);
    }
    if (again.empty()) return finish();
    listAllowedSlots();
    for (uint32_t query : again) answered_[query] = byScan;
    run(std::make_shared<Phase>(*this, std::move(again), false, false, true));
  }

  const float* queryAt(uint32_t query) const { return request_.queries.data() + query * graph_->settings().dimension; }

  bool isAllowed(uint32_t ordinal) const {
    const std::vector<uint32_t>& words = *request_.allowed;
    return ordinal / 32 < words.size() && (words[ordinal / 32] >> ordinal % 32 & 1) != 0;
  }

  // No ordinal from here on is looked up.
  size_t ordinalsEnd() const {
    size_t end = request_.allowed ? request_.allowed->size() * 32 : 0;
    for (uint32_t ordinal : request_.without) end = std::max<size_t>(end, size_t{ordinal} + 1);
    return end;
  }

  bool isLeftOut(uint32_t query, uint32_t ordinal) const {
    return !request_.without.empty() && request_.without[query] == ordinal;
  }

  // The live slot that the walk of a query must not go through.
  uint32_t hiddenSlot(uint32_t query) const {
    if (request_.without.empty()) return noSlot;
    const uint32_t ordinal = request_.without[query];
    const size_t page = ordinal / LocationTable::pageSize;
    if (page >= view_.pages.size() || view_.pages[page] == nullptr) return noSlot;
    const Location location = view_.pages[page]->at(ordinal);
    return location < view_.slots && !graph_->isDeleted(location) ? location : noSlot;
  }

  void walk(uint32_t query) {
    InRoom room(graph_->rooms(), Room::search);
    Hnsw& graph = *graph_->graph();
    Scratch& scratch = Scratch::ofThread();
    const float* vector = queryAt(query);
    const size_t ef = std::max(request_.efSearch, request_.k);
    size_t compared = 1;
    Near at = {0, graph.enterpoint_node_};
    at.distance = graph.distance(vector, at.slot);
    const uint32_t hidden = hiddenSlot(query);
    at = graph.descend<false>(vector, at, graph.maxlevel_, 0, compared, hidden);
    const auto all = [](uint32_t) { return true; };
    const auto live = [&](uint32_t slot) { return slot < view_.slots && slot != hidden && !graph_->isDeleted(slot); };
    const auto allowed = [&](uint32_t slot) { return live(slot) && isAllowed(graph.ordinalAt(slot)); };
    const auto go = [&](const auto& accept) {
      return graph.walk<false>(scratch, vector, at, 0, ef, request_.visitBudget, compared, accept, hidden);
    };
    const bool isPlain = !request_.allowed && hidden == noSlot && view_.indexed == graph.count();
    const bool ended = request_.allowed ? go(allowed) : isPlain ? go(all) : go(live);
    const size_t eligible = view_.indexed - (hidden == noSlot ? 0 : 1);
    const size_t enough = std::min(request_.k, request_.allowed ? request_.k : eligible);
    std::lock_guard<std::mutex> lock(mutex_);
    compared_[query] += compared;
    if (!ended || scratch.best.size() < enough) {
      answered_[query] = unanswered;
      return;
    }
    for (const Near& near : scratch.best) {
      if (near.distance <= hits_[query].bound()) hits_[query].offer({near.distance, graph.ordinalAt(near.slot)});
    }
  }

  void scanTail(const TailSpan& span, const uint32_t* queries, size_t count) {
    const std::atomic<uint32_t>* ordinals = span.chunk->ordinals.get();
    const size_t dimension = graph_->settings().dimension;
    scan(
        span.first, span.last, queries, count,
        [&](size_t row) {
          const uint32_t ordinal = ordinals[row].load(std::memory_order_relaxed);
          return ordinal != nowhere && (!request_.allowed || isAllowed(ordinal));
        },
        [&](size_t row) { return span.chunk->vectors.get() + row * dimension; },
        [&](size_t row) { return ordinals[row].load(std::memory_order_relaxed); });
  }

  void scanGraph(size_t first, size_t last, const uint32_t* queries, size_t count) {
    InRoom room(graph_->rooms(), Room::search);
    const Hnsw& graph = *graph_->graph();
    const auto slotOf = [&](size_t row) { return request_.allowed ? allowedSlots_[row] : static_cast<uint32_t>(row); };
    scan(
        first, last, queries, count, [&](size_t row) { return !graph_->isDeleted(slotOf(row)); },
        [&](size_t row) { return graph.vectorAt(slotOf(row)); },
        [&](size_t row) { return graph.ordinalAt(slotOf(row)); });
  }

  template <typename Eligible, typename VectorAt, typename OrdinalAt>
  void scan(size_t first, size_t last, const uint32_t* queries, size_t count, Eligible eligible, VectorAt vectorAt,
            OrdinalAt ordinalAt) {
    std::vector<Hits> found(count, Hits(request_.k));
    size_t compared = 0;
    size_t rows[blockRows];
    for (size_t row = first; row < last;) {
      size_t size = 0;
      for (; row < last && size < blockRows; ++row) {
        if (eligible(row)) rows[size++] = row;
      }
      compared += size;
      for (size_t i = 0; i < count; ++i) {
        const float* vector = queryAt(queries[i]);
        for (size_t j = 0; j < size; ++j) {
          const float d = graph_->distance(vector, vectorAt(rows[j]));
          if (d > found[i].bound()) continue;
          const uint32_t ordinal = ordinalAt(rows[j]);
          if (ordinal != nowhere && !isLeftOut(queries[i], ordinal)) found[i].offer({d, ordinal});
        }
      }
    }
    std::lock_guard<std::mutex> lock(mutex_);
    for (size_t i = 0; i < count; ++i) {
      compared_[queries[i]] += compared;
      for (const Hit& hit : found[i].all()) hits_[queries[i]].offer(hit);
    }
  }

  // The slots of the allowed ordinals, so that a scan touches no others. Those that came after the view were in its
  // tail.
  void listAllowedSlots() {
    if (!request_.allowed) return;
    const std::vector<uint32_t>& words = *request_.allowed;
    const size_t known = std::min(words.size(), view_.pages.size() * LocationTable::pageSize / 32);
    for (size_t i = 0; i < known; ++i) {
      const LocationTable::Page* page = view_.pages[i * 32 / LocationTable::pageSize];
      if (page == nullptr) continue;
      for (uint32_t word = words[i]; word != 0; word &= word - 1) {
        const Location location = page->at(static_cast<uint32_t>(i * 32 + __builtin_ctz(word)));
        if (location < view_.slots) allowedSlots_.push_back(location);
      }
    }
  }

  void finish() {
    if (finished_.exchange(true)) return;
    auto outcome = std::make_shared<SearchOutcome>();
    outcome->queries = request_.count;
    for (Hits& hits : hits_) {
      for (Hit& hit : hits.all()) hit.distance = graph_->answer(hit.distance);
      std::sort(hits.all().begin(), hits.all().end());
      outcome->results += hits.all().size();
    }
    outcome->bytes.resize(outcome->queries * 9 + outcome->results * 8);
    uint32_t* counts = reinterpret_cast<uint32_t*>(outcome->bytes.data());
    uint32_t* compared = counts + outcome->queries;
    uint32_t* ordinals = compared + outcome->queries;
    float* distances = reinterpret_cast<float*>(ordinals + outcome->results);
    uint8_t* exact = reinterpret_cast<uint8_t*>(distances + outcome->results);
    for (size_t i = 0; i < outcome->queries; ++i) {
      *counts++ = static_cast<uint32_t>(hits_[i].all().size());
      *compared++ = static_cast<uint32_t>(std::min<size_t>(compared_[i], 0xFFFFFFFF));
      *exact++ = answered_[i];
      for (const Hit& hit : hits_[i].all()) {
        *ordinals++ = hit.ordinal;
        *distances++ = hit.distance;
      }
    }
    done_(outcome);
  }

  const std::shared_ptr<const VectorGraph> graph_;
  ThreadPool& pool_;
  const SearchRequest request_;
  const std::function<bool()> cancelled_;
  const Done done_;
  VectorGraph::View view_;
  std::vector<uint32_t> allowedSlots_;
  std::mutex mutex_;  // of the three below, while a phase runs
  std::vector<Hits> hits_;
  std::vector<size_t> compared_;
  std::vector<Answered> answered_;
  std::atomic<bool> finished_{false};
};

}  // namespace quiver
