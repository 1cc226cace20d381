// Compares one query with given vectors of a VectorGraph on the threads of a pool.
#pragma once

#include <atomic>

#include "thread-pool.h"
#include "vector-graph.h"

namespace quiver {

// Threads claim units of ordinals one after the other, as in a Search: a unit looks its ordinals up and compares them
// in one stay in the search room.
class GraphDistances : public std::enable_shared_from_this<GraphDistances> {
 public:
  // Gets the distance of each ordinal, NaN where it is not held; null when memory ran out.
  using Done = std::function<void(std::shared_ptr<std::vector<float>>)>;

  GraphDistances(std::shared_ptr<const VectorGraph> graph, ThreadPool& pool, std::vector<float> query,
                 std::vector<uint32_t> ordinals, std::function<bool()> cancelled, Done done)
      : graph_(std::move(graph)),
        pool_(pool),
        query_(std::move(query)),
        ordinals_(std::move(ordinals)),
        cancelled_(std::move(cancelled)),
        done_(std::move(done)),
        results_(std::make_shared<std::vector<float>>(ordinals_.size())),
        unitRows_(std::clamp<size_t>(unitProducts / graph_->settings().dimension, 16, unitRowsMost)),
        units_((ordinals_.size() + unitRows_ - 1) / unitRows_),
        open_(units_) {}

  void start() {
    if (units_ == 0) return done_(results_);
    pool_.post([self = shared_from_this()] {
      self->guarded([&] {
        const size_t products = self->ordinals_.size() * self->graph_->settings().dimension;
        // To wake a thread for a few microseconds would cost more than it saves.
        const size_t threads = std::clamp<size_t>(products / unitProducts, 1, self->pool_.size());
        for (size_t i = 1; i < threads; ++i) self->post();
        self->work();
      });
    });
  }

 private:
  using Clock = std::chrono::steady_clock;

  // So that a unit holds the search room for a fraction of a millisecond, and the lock of the locations for less.
  static constexpr size_t unitProducts = 1 << 20;
  static constexpr size_t unitRowsMost = 1024;
  // How long a thread works for one call before those behind it have their turn.
  static constexpr std::chrono::milliseconds shift{2};

  template <typename Work>
  void guarded(Work work) {
    try {
      work();
    } catch (const std::exception&) {
      // Nothing but bad_alloc is thrown here.
      if (!finished_.exchange(true)) done_(nullptr);
    }
  }

  void post() {
    pool_.post([self = shared_from_this()] { self->guarded([&] { self->work(); }); });
  }

  void work() {
    const Clock::time_point end = Clock::now() + shift;
    for (;;) {
      const size_t unit = next_++;
      if (unit >= units_) return;
      if (!finished_ && !cancelled_()) compare(unit * unitRows_, std::min((unit + 1) * unitRows_, ordinals_.size()));
      if (--open_ == 0 && !finished_.exchange(true)) return done_(results_);
      if (Clock::now() >= end) return post();
    }
  }

  void compare(size_t first, size_t last) {
    InRoom room(graph_->rooms(), Room::search);
    const VectorGraph::Rows rows = graph_->rowsOf(ordinals_.data() + first, last - first);
    for (size_t i = first; i < last; ++i) {
      const float* vector = rows.vectors[i - first];
      (*results_)[i] = vector == nullptr ? std::numeric_limits<float>::quiet_NaN()
                                         : graph_->answer(graph_->distance(query_.data(), vector));
    }
  }

  const std::shared_ptr<const VectorGraph> graph_;
  ThreadPool& pool_;
  const std::vector<float> query_;  // normalised for cosine
  const std::vector<uint32_t> ordinals_;
  const std::function<bool()> cancelled_;
  const Done done_;
  const std::shared_ptr<std::vector<float>> results_;
  const size_t unitRows_;
  const size_t units_;
  std::atomic<size_t> next_{0};
  std::atomic<size_t> open_;
  std::atomic<bool> finished_{false};
};

}  // namespace quiver
