// What JavaScript sees of the HNSW half; the contract stands in hnsw.ts. Arguments are checked and copied here.
#include <condition_variable>

#include "common.h"
#include "graph-distances.h"
#include "graph-file.h"
#include "graph-search.h"
#include "thread-pool.h"
#include "vector-graph.h"

namespace quiver {
namespace {

constexpr size_t dimensionMost = 20000;
constexpr size_t queriesMost = 10000;
constexpr size_t resultsMost = 10000000;

ThreadPool& searchPool() {
  static ThreadPool* pool = new ThreadPool(coreCount());
  return *pool;
}

ThreadPool& loadPool() {
  static ThreadPool* pool = new ThreadPool(std::min<size_t>(coreCount(), 4));
  return *pool;
}

// What an environment (the main thread's or a worker's) needs while its calls run.
class Runtime {
 public:
  explicit Runtime(napi_env env) : settler(env) {}

  void begin() {
    std::lock_guard<std::mutex> lock(mutex_);
    ++running_;
  }

  void end() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (--running_ == 0) idle_.notify_all();
  }

  bool isClosing() const { return closing_; }

  // When the environment ends: running calls end early, and nothing of them is left when this returns.
  void close() {
    closing_ = true;
    std::unique_lock<std::mutex> lock(mutex_);
    idle_.wait(lock, [this] { return running_ == 0; });
    settler.close();
  }

  Settler settler;
  napi_ref graphClass = nullptr;

 private:
  std::atomic<bool> closing_{false};
  std::mutex mutex_;
  std::condition_variable idle_;
  size_t running_ = 0;
};

using SharedRuntime = std::shared_ptr<Runtime>;

const SharedRuntime& runtimeOf(const Call& call) { return *static_cast<SharedRuntime*>(call.data); }

// What a Graph object holds; `graph` is null after dispose.
struct GraphHandle {
  static constexpr napi_type_tag tag = {0x6b7d0c52e3f14a8fu, 0x9d25b1c07e6843fau};
  std::shared_ptr<VectorGraph> graph;
  std::shared_ptr<TaskQueue> jobs = std::make_shared<TaskQueue>();  // builds and saves
};

GraphHandle& handleOf(const Call& call) { return unwrap<GraphHandle>(call.env, call.self, "this"); }

// To be called after everything that can run JavaScript (getters of options could dispose the graph).
const std::shared_ptr<VectorGraph>& graphOf(const Call& call) {
  const std::shared_ptr<VectorGraph>& graph = handleOf(call).graph;
  if (graph == nullptr) throw Failure("DISPOSED", "The graph is disposed");
  return graph;
}

using Settle = std::function<void(Maker)>;

Maker failureOf(std::exception_ptr failure) {
  return [failure](napi_env) -> napi_value { std::rethrow_exception(failure); };
}

// Makes a promise and gives `start` the function that settles it, once, from any thread.
template <typename Start>
napi_value promised(const SharedRuntime& runtime, Start start) {
  napi_deferred deferred;
  napi_value promise = runtime->settler.promise(&deferred);
  const Settle settle = [runtime, deferred](Maker make) {
    runtime->settler.settle(deferred, std::move(make));
    runtime->end();
  };
  runtime->begin();
  try {
    start(settle);
  } catch (...) {
    settle(failureOf(std::current_exception()));
  }
  return promise;
}

// Runs on another thread; `work` returns the Maker of the result.
template <typename Work>
Task settling(const Settle& settle, Work work) {
  return [settle, work = std::move(work)]() mutable {
    Maker make;
    try {
      make = work();
    } catch (...) {
      make = failureOf(std::current_exception());
    }
    settle(std::move(make));
  };
}

uint64_t integerOption(napi_env env, napi_value options, const char* name, uint64_t least, uint64_t most,
                       uint64_t otherwise) {
  napi_value value = property(env, options, name);
  return isUndefined(env, value) ? otherwise : integerArgument(env, value, name, least, most);
}

Metric metricOption(napi_env env, napi_value options) {
  const std::string name = stringArgument(env, property(env, options, "metric"), "metric", 1, 20);
  if (name == "cosine") return Metric::cosine;
  if (name == "euclidean") return Metric::euclidean;
  if (name == "dot_product") return Metric::dotProduct;
  invalid("metric must be \"cosine\", \"euclidean\" or \"dot_product\"");
}

GraphSettings settingsArgument(napi_env env, napi_value options) {
  objectArgument(env, options, "options");
  return {integerArgument(env, property(env, options, "dimension"), "dimension", 1, dimensionMost),
          metricOption(env, options), integerOption(env, options, "m", 2, 256, 16),
          integerOption(env, options, "efConstruction", 8, 4096, 200),
          static_cast<uint32_t>(integerOption(env, options, "seed", 0, 0xFFFFFFFF, 100))};
}

napi_value wrapGraph(napi_env env, const Runtime& runtime, std::shared_ptr<VectorGraph> graph) {
  auto handle = std::make_unique<GraphHandle>();
  handle->graph = std::move(graph);
  return wrap(env, runtime.graphClass, std::move(handle));
}

napi_value createGraph(const Call& call) {
  const GraphSettings settings = settingsArgument(call.env, call[0]);
  return wrapGraph(call.env, *runtimeOf(call), std::make_shared<VectorGraph>(settings));
}

napi_value loadGraph(const Call& call) {
  const std::string path = pathArgument(call.env, call[0], "path");
  const GraphSettings settings = settingsArgument(call.env, call[1]);
  const SharedRuntime& runtime = runtimeOf(call);
  return promised(runtime, [&](const Settle& settle) {
    loadPool().post(settling(settle, [runtime, path, settings]() -> Maker {
      std::shared_ptr<VectorGraph> graph = GraphFile::load(path, settings);
      return [runtime, graph](napi_env env) { return wrapGraph(env, *runtime, graph); };
    }));
  });
}

napi_value add(const Call& call) {
  const std::shared_ptr<VectorGraph> graph = graphOf(call);
  const Span<uint32_t> ordinals = arrayArgument<uint32_t>(call.env, call[0], "ordinals");
  const Span<float> vectors = arrayArgument<float>(call.env, call[1], "vectors");
  if (vectors.size != ordinals.size * graph->settings().dimension) {
    invalid("vectors must hold " + std::to_string(graph->settings().dimension) + " values for each of " +
            std::to_string(ordinals.size) + " ordinals, not " + std::to_string(vectors.size));
  }
  graph->add(ordinals.data, vectors.data, ordinals.size);
  return undefined(call.env);
}

napi_value removeOrdinals(const Call& call) {
  const std::shared_ptr<VectorGraph> graph = graphOf(call);
  const Span<uint32_t> ordinals = arrayArgument<uint32_t>(call.env, call[0], "ordinals");
  graph->remove(ordinals.data, ordinals.size);
  return undefined(call.env);
}

napi_value build(const Call& call) {
  const size_t most = integerArgument(call.env, call[0], "max", 1, 1000000);
  const size_t threads =
      isUndefined(call.env, call[1]) ? coreCount() : integerArgument(call.env, call[1], "threads", 1, 256);
  const std::shared_ptr<VectorGraph> graph = graphOf(call);
  const SharedRuntime& runtime = runtimeOf(call);
  return promised(runtime, [&](const Settle& settle) {
    handleOf(call).jobs->post(settling(settle, [runtime, graph, most, threads]() -> Maker {
      const size_t moved = graph->build(most, threads, [&] { return runtime->isClosing(); });
      return [moved](napi_env env) { return toNumber(env, static_cast<double>(moved)); };
    }));
  });
}

// Normalised for cosine.
std::vector<float> queriesArgument(const VectorGraph& graph, const Span<float>& queries, size_t count,
                                   const char* what) {
  const size_t dimension = graph.settings().dimension;
  const std::vector<double> scales = graph.scales(queries.data, count, what);
  std::vector<float> scaled(queries.size);
  for (size_t i = 0; i < count; ++i) {
    graph.scaled(queries.data + i * dimension, scales[i], scaled.data() + i * dimension);
  }
  return scaled;
}

SearchRequest requestArguments(const Call& call) {
  napi_env env = call.env;
  napi_value options = call[1];
  objectArgument(env, options, "options");
  SearchRequest request;
  request.k = integerArgument(env, property(env, options, "k"), "k", 1, 20000);
  request.efSearch = integerOption(env, options, "efSearch", 1, 100000, 64);
  request.visitBudget = integerOption(env, options, "visitBudget", 1, 0xFFFFFFFF, 0xFFFFFFFF);
  napi_value exact = property(env, options, "exact");
  request.exact = !isUndefined(env, exact) && booleanArgument(env, exact, "exact");
  napi_value allowed = property(env, options, "allowed");
  napi_value without = property(env, options, "without");

  // No JavaScript runs from here on.
  const std::shared_ptr<VectorGraph>& graph = graphOf(call);
  const size_t dimension = graph->settings().dimension;
  if (!isUndefined(env, allowed)) {
    const Span<uint32_t> words = arrayArgument<uint32_t>(env, allowed, "allowed");
    request.allowed.emplace(words.data, words.data + words.size);
  }
  const Span<float> queries = arrayArgument<float>(env, call[0], "queries");
  request.count = queries.size / dimension;
  if (request.count < 1 || request.count > queriesMost || request.count * dimension != queries.size) {
    invalid("queries must hold " + std::to_string(dimension) + " values for each of 1 to " +
            std::to_string(queriesMost) + " queries, not " + std::to_string(queries.size));
  }
  if (request.count * request.k > resultsMost) {
    invalid("k must be at most " + std::to_string(resultsMost / request.count) + " for " +
            std::to_string(request.count) + " queries");
  }
  if (!isUndefined(env, without)) {
    const Span<uint32_t> ordinals = arrayArgument<uint32_t>(env, without, "without");
    if (ordinals.size != request.count) {
      invalid("without must hold an ordinal for each of " + std::to_string(request.count) + " queries, not " +
              std::to_string(ordinals.size));
    }
    request.without.assign(ordinals.data, ordinals.data + ordinals.size);
  }
  request.queries = queriesArgument(*graph, queries, request.count, "queries");
  return request;
}

// All arrays are views of one buffer.
napi_value toResults(napi_env env, const SearchOutcome& outcome) {
  void* bytes = nullptr;
  napi_value buffer, results;
  check(env, napi_create_arraybuffer(env, outcome.bytes.size(), &bytes, &buffer), "create an array");
  std::memcpy(bytes, outcome.bytes.data(), outcome.bytes.size());
  check(env, napi_create_object(env, &results), "create an object");
  size_t offset = 0;
  const auto put = [&](const char* name, napi_typedarray_type type, size_t length, size_t elementBytes) {
    napi_value array;
    check(env, napi_create_typedarray(env, type, length, buffer, offset, &array), "create an array");
    check(env, napi_set_named_property(env, results, name, array), "set a property");
    offset += length * elementBytes;
  };
  put("counts", napi_uint32_array, outcome.queries, 4);
  put("compared", napi_uint32_array, outcome.queries, 4);
  put("ordinals", napi_uint32_array, outcome.results, 4);
  put("distances", napi_float32_array, outcome.results, 4);
  put("exact", napi_uint8_array, outcome.queries, 1);
  return results;
}

// What a search ends with, which may be before or after somebody waits for it.
class SearchEnd {
 public:
  // On any thread, once.
  void reach(const std::shared_ptr<SearchOutcome>& outcome) {
    std::lock_guard<std::mutex> lock(mutex_);
    make_ = [outcome](napi_env env) {
      if (outcome == nullptr) throw std::bad_alloc();
      return toResults(env, *outcome);
    };
    if (settle_) settle_(make_);
  }

  // Makes the results; empty before the end.
  Maker maker() {
    std::lock_guard<std::mutex> lock(mutex_);
    return make_;
  }

  void await(const Settle& settle) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (make_) return settle(make_);
    settle_ = settle;
  }

 private:
  std::mutex mutex_;
  Maker make_;
  Settle settle_;
};

std::shared_ptr<SearchEnd> startSearch(const Call& call, bool here) {
  SearchRequest request = requestArguments(call);
  const SharedRuntime& runtime = runtimeOf(call);
  const auto end = std::make_shared<SearchEnd>();
  std::make_shared<Search>(
      graphOf(call), searchPool(), std::move(request), [runtime] { return runtime->isClosing(); },
      [end](const std::shared_ptr<SearchOutcome>& outcome) { end->reach(outcome); })
      ->start(here);
  return end;
}

napi_value search(const Call& call) {
  const std::shared_ptr<SearchEnd> end = startSearch(call, false);
  return promised(runtimeOf(call), [&](const Settle& settle) { end->await(settle); });
}

napi_value searchHere(const Call& call) {
  const std::shared_ptr<SearchEnd> end = startSearch(call, true);
  if (const Maker make = end->maker()) return make(call.env);
  return promised(runtimeOf(call), [&](const Settle& settle) { end->await(settle); });
}

napi_value toFloats(napi_env env, const std::vector<float>& values) {
  void* bytes = nullptr;
  napi_value buffer, array;
  check(env, napi_create_arraybuffer(env, values.size() * sizeof(float), &bytes, &buffer), "create an array");
  if (!values.empty()) std::memcpy(bytes, values.data(), values.size() * sizeof(float));
  check(env, napi_create_typedarray(env, napi_float32_array, values.size(), buffer, 0, &array), "create an array");
  return array;
}

napi_value distancesOf(const Call& call) {
  const std::shared_ptr<VectorGraph>& graph = graphOf(call);
  const size_t dimension = graph->settings().dimension;
  const Span<float> query = arrayArgument<float>(call.env, call[0], "query");
  if (query.size != dimension) {
    invalid("query must hold " + std::to_string(dimension) + " values, not " + std::to_string(query.size));
  }
  const Span<uint32_t> ordinals = arrayArgument<uint32_t>(call.env, call[1], "ordinals");
  if (ordinals.size > resultsMost) {
    invalid("ordinals must be at most " + std::to_string(resultsMost) + ", not " + std::to_string(ordinals.size));
  }
  std::vector<float> scaled = queriesArgument(*graph, query, 1, "query");
  std::vector<uint32_t> wanted(ordinals.data, ordinals.data + ordinals.size);
  const SharedRuntime& runtime = runtimeOf(call);
  return promised(runtime, [&](const Settle& settle) {
    const auto done = [settle](const std::shared_ptr<std::vector<float>>& found) {
      settle([found](napi_env env) {
        if (found == nullptr) throw std::bad_alloc();
        return toFloats(env, *found);
      });
    };
    std::make_shared<GraphDistances>(
        graph, searchPool(), std::move(scaled), std::move(wanted), [runtime] { return runtime->isClosing(); }, done)
        ->start();
  });
}

napi_value get(const Call& call) {
  const std::shared_ptr<VectorGraph> graph = graphOf(call);
  const uint32_t ordinal = static_cast<uint32_t>(integerArgument(call.env, call[0], "ordinal", 0, 0xFFFFFFFF));
  std::vector<float> vector(graph->settings().dimension);
  if (!graph->get(ordinal, vector.data())) return undefined(call.env);
  return toFloats(call.env, vector);
}

napi_value stats(const Call& call) {
  const GraphStats stats = graphOf(call)->stats();
  napi_value object;
  check(call.env, napi_create_object(call.env, &object), "create an object");
  const auto put = [&](const char* name, size_t number) {
    napi_value value = toNumber(call.env, static_cast<double>(number));
    check(call.env, napi_set_named_property(call.env, object, name, value), "set a property");
  };
  put("indexed", stats.indexed);
  put("unindexed", stats.unindexed);
  put("deleted", stats.deleted);
  put("vectorBytes", stats.vectorBytes);
  put("graphBytes", stats.graphBytes);
  return object;
}

napi_value save(const Call& call) {
  const std::string path = pathArgument(call.env, call[0], "path");
  const std::shared_ptr<VectorGraph> graph = graphOf(call);
  auto moment = std::make_shared<GraphFile::Moment>(GraphFile::moment(*graph));
  const SharedRuntime& runtime = runtimeOf(call);
  return promised(runtime, [&](const Settle& settle) {
    handleOf(call).jobs->post(settling(settle, [runtime, graph, moment, path]() -> Maker {
      GraphFile::save(*graph, std::move(*moment), path, [&] { return runtime->isClosing(); });
      return [](napi_env env) { return undefined(env); };
    }));
  });
}

napi_value dispose(const Call& call) {
  std::shared_ptr<VectorGraph>& graph = handleOf(call).graph;
  if (graph != nullptr) graph->stop();
  graph.reset();
  return undefined(call.env);
}

}  // namespace

void initHnsw(napi_env env, napi_value exports) {
  auto* runtime = new SharedRuntime(std::make_shared<Runtime>(env));
  const auto close = [](void* data) {
    auto* closing = static_cast<SharedRuntime*>(data);
    (*closing)->close();
    delete closing;
  };
  check(env, napi_add_env_cleanup_hook(env, close, runtime), "add a clean-up hook");
  (*runtime)->graphClass = defineClass(
      env, "Graph",
      {method("add", throwing<add>), method("remove", throwing<removeOrdinals>),
       method("build", rejecting<build>, runtime), method("search", rejecting<search>, runtime),
       method("searchHere", rejecting<searchHere>, runtime), method("distances", rejecting<distancesOf>, runtime),
       method("get", throwing<get>), method("stats", throwing<stats>), method("save", rejecting<save>, runtime),
       method("dispose", throwing<dispose>)});
  const napi_property_descriptor functions[] = {method("createGraph", throwing<createGraph>, runtime),
                                                method("loadGraph", rejecting<loadGraph>, runtime)};
  check(env, napi_define_properties(env, exports, 2, functions), "define the functions");
}

}  // namespace quiver
