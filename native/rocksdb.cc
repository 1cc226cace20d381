// The RocksDB half as JavaScript sees it: arguments are checked and copied here, on the JavaScript thread, and results
// become ArrayBuffers here; the store does the work between. The contract is native/rocksdb.ts.
#include <cstring>

#include "rocksdb-read.h"
#include "rocksdb-table.h"

namespace quiver {
namespace {

constexpr size_t mostBoundBytes = mostKeyBytes + 1;  // the key after the longest key is one byte longer
constexpr size_t mostKeys = 1000000;
constexpr size_t mostOptionBytes = size_t{1} << 46;

// What belongs to one JavaScript environment (the main thread, or one worker).
struct Environment {
  std::shared_ptr<Settler> settler;
  napi_ref databaseClass;
  napi_ref snapshotClass;
};

// The function that hears of background errors; touched on the JavaScript thread only.
struct Callback {
  napi_env env;
  napi_ref function;
};

struct Database {
  static constexpr napi_type_tag tag = {0x6a3f1c80d2e94b57, 0x91b0c7745ce2a8d3};
  ~Database() {
    if (callback->function != nullptr) napi_delete_reference(callback->env, callback->function);
    callback->function = nullptr;
    store->close(nullptr);
  }
  const std::shared_ptr<Store> store;
  const std::shared_ptr<Callback> callback;
};

struct SnapshotObject {
  static constexpr napi_type_tag tag = {0x1f9be64a07c3d825, 0x83de5096b7a14cf2};
  std::shared_ptr<ReadSnapshot> snapshot;
};

Environment& environmentOf(const Call& call) { return *static_cast<Environment*>(call.data); }

Store& storeOf(const Call& call) { return *unwrap<Database>(call.env, call.self, "Database").store; }

// To be called after the last argument was read: reading one can run user code, which may close the database.
Store& openStoreOf(const Call& call) {
  Store& store = storeOf(call);
  store.assertOpen();
  return store;
}

using Work = std::function<Maker()>;

napi_value read(const Call& call, Store& store, Work work) {
  napi_deferred deferred;
  napi_value promise = environmentOf(call).settler->promise(&deferred);
  store.read(deferred, std::move(work));
  return promise;
}

napi_value writeCommand(const Call& call, Store& store, Work work) {
  napi_deferred deferred;
  napi_value promise = environmentOf(call).settler->promise(&deferred);
  store.writeCommand(deferred, std::move(work));
  return promise;
}

std::string copyOf(Span<uint8_t> bytes) {
  return bytes.size == 0 ? std::string() : std::string(reinterpret_cast<const char*>(bytes.data), bytes.size);
}

std::string bytesArgument(napi_env env, napi_value value, const char* what, size_t least, size_t most) {
  const auto bytes = arrayArgument<uint8_t>(env, value, what);
  if (bytes.size < least || bytes.size > most) {
    invalid(std::string(what) + " has " + std::to_string(bytes.size) + " bytes; allowed are " + std::to_string(least) +
            " to " + std::to_string(most));
  }
  return copyOf(bytes);
}

uint32_t familyArgument(napi_env env, napi_value value) {
  return static_cast<uint32_t>(integerArgument(env, value, "Column family", 0, UINT32_MAX));
}

std::shared_ptr<ReadSnapshot> snapshotArgument(const Call& call, napi_value value) {
  if (isUndefined(call.env, value)) return nullptr;
  const auto& snapshot = unwrap<SnapshotObject>(call.env, value, "Snapshot").snapshot;
  if (!snapshot) invalid("Snapshot is released");
  if (snapshot->store.get() != &storeOf(call)) invalid("Snapshot belongs to another database");
  return snapshot;
}

void set(napi_env env, napi_value object, const char* name, napi_value value) {
  check(env, napi_set_named_property(env, object, name, value), "set a property");
}

napi_value newObject(napi_env env) {
  napi_value object;
  check(env, napi_create_object(env, &object), "create an object");
  return object;
}

// ---- many entries in one buffer

napi_value copiedBuffer(napi_env env, const void* data, size_t size) {
  void* to = nullptr;
  napi_value buffer;
  check(env, napi_create_arraybuffer(env, size, &to, &buffer), "create a buffer");
  if (size != 0) std::memcpy(to, data, size);
  return buffer;
}

// Hands large memory over without a copy; for small ones a copy costs less than the finalizer.
napi_value toBuffer(napi_env env, Bytes* bytes) {
  if (bytes->size() < 65536) return copiedBuffer(env, bytes->data(), bytes->size());
  bytes->shrink();
  napi_value buffer;
  auto* data = const_cast<char*>(bytes->data());
  auto release = [](napi_env, void* memory, void*) { std::free(memory); };
  const napi_status status = napi_create_external_arraybuffer(env, data, bytes->size(), release, nullptr, &buffer);
  if (status == napi_no_external_buffers_allowed) return copiedBuffer(env, data, bytes->size());
  bytes->release();
  check(env, status, "create a buffer");
  return buffer;
}

napi_value toObject(napi_env env, Entries* answer) {
  napi_value numbers, object = newObject(env);
  set(env, object, "data", toBuffer(env, &answer->data));
  const size_t count = answer->entries.size();
  napi_value buffer = copiedBuffer(env, answer->entries.data(), count * sizeof(uint32_t));
  check(env, napi_create_typedarray(env, napi_uint32_array, count, buffer, 0, &numbers), "create an array");
  set(env, object, "entries", numbers);
  return object;
}

// ---- scan

napi_value scan(const Call& call) {
  napi_env env = call.env;
  storeOf(call);
  objectArgument(env, call[0], "Scan options");
  auto option = [&](const char* name) { return property(env, call[0], name); };
  const uint32_t familyId = familyArgument(env, option("columnFamily"));
  Range range;
  if (napi_value gte = option("gte"); !isUndefined(env, gte)) {
    range.gte = bytesArgument(env, gte, "Option gte", 0, mostBoundBytes);
  }
  if (napi_value lt = option("lt"); !isUndefined(env, lt)) {
    range.lt = bytesArgument(env, lt, "Option lt", 0, mostBoundBytes);
  }
  if (napi_value limit = option("limit"); !isUndefined(env, limit)) {
    range.limit = integerArgument(env, limit, "Option limit", 1, 1000000);
  }
  if (napi_value maxBytes = option("maxBytes"); !isUndefined(env, maxBytes)) {
    range.maxBytes = integerArgument(env, maxBytes, "Option maxBytes", 1, size_t{1} << 28);
  }
  if (napi_value keysOnly = option("keysOnly"); !isUndefined(env, keysOnly)) {
    range.keysOnly = booleanArgument(env, keysOnly, "Option keysOnly");
  }
  napi_value snapshotOption = option("snapshot");
  Store& store = openStoreOf(call);
  auto snapshot = snapshotArgument(call, snapshotOption);
  auto family = store.family(familyId);
  return read(call, store, [&store, family, snapshot, range = std::move(range)]() -> Maker {
    auto chunk = std::make_shared<Entries>(scanRange(store, *family, range, snapshot.get()));
    return [chunk](napi_env env) {
      napi_value done, object = toObject(env, chunk.get());
      check(env, napi_get_boolean(env, chunk->done, &done), "create a boolean");
      set(env, object, "done", done);
      return object;
    };
  });
}

// ---- multiGet

Keys keysArgument(napi_env env, napi_value value) {
  bool isArray = false;
  uint32_t count = 0;
  if (napi_is_array(env, value, &isArray) != napi_ok || !isArray ||
      napi_get_array_length(env, value, &count) != napi_ok || count > mostKeys) {
    invalid("Keys must be an array of at most " + std::to_string(mostKeys) + " keys");
  }
  Keys keys;
  for (uint32_t i = 0; i < count; i++) {
    napi_handle_scope scope;
    check(env, napi_open_handle_scope(env, &scope), "open a scope");
    const std::unique_ptr<napi_handle_scope__, std::function<void(napi_handle_scope)>> closing(
        scope, [env](napi_handle_scope open) { napi_close_handle_scope(env, open); });
    napi_value element;
    check(env, napi_get_element(env, value, i, &element), "read a key");
    keys.bytes += bytesArgument(env, element, "Key", 1, mostKeyBytes);
    keys.ends.push_back(keys.bytes.size());
  }
  return keys;
}

napi_value multiGet(const Call& call) {
  storeOf(call);
  const uint32_t familyId = familyArgument(call.env, call[0]);
  Keys keys = keysArgument(call.env, call[1]);
  Store& store = openStoreOf(call);
  auto snapshot = snapshotArgument(call, call[2]);
  auto family = store.family(familyId);
  return read(call, store, [&store, family, snapshot, keys = std::move(keys)]() -> Maker {
    auto answer = std::make_shared<Entries>(lookUp(store, *family, keys, snapshot.get()));
    return [answer](napi_env env) { return toObject(env, answer.get()); };
  });
}

// ---- writes

napi_value write(const Call& call) {
  Store& store = openStoreOf(call);
  const auto batch = arrayArgument<uint8_t>(call.env, call[0], "Batch");
  if (batch.size > Store::mostBatchBytes) {
    invalid("Batch has " + std::to_string(batch.size) + " bytes; allowed are at most " +
            std::to_string(Store::mostBatchBytes));
  }
  const uint64_t leastFree =
      isUndefined(call.env, call[1]) ? 0 : integerArgument(call.env, call[1], "Least free bytes", 0, mostOptionBytes);
  Bytes copy(batch.data, batch.size);
  napi_deferred deferred;
  napi_value promise = environmentOf(call).settler->promise(&deferred);
  store.write(deferred, std::move(copy), leastFree);
  return promise;
}

napi_value createColumnFamily(const Call& call) {
  Store& store = openStoreOf(call);
  std::string name = stringArgument(call.env, call[0], "Name of a column family", 1, 255);
  return writeCommand(call, store, [&store, name = std::move(name)]() -> Maker {
    const uint32_t id = store.createFamily(name);
    return [id](napi_env env) { return toNumber(env, id); };
  });
}

napi_value dropColumnFamily(const Call& call) {
  Store& store = openStoreOf(call);
  const uint32_t id = familyArgument(call.env, call[0]);
  if (id == 0) invalid("Column family 0 is the default one and cannot be dropped");
  return writeCommand(call, store, [&store, id]() -> Maker {
    store.dropFamily(id);
    return undefined;
  });
}

// ---- maintenance

napi_value snapshot(const Call& call) {
  Store& store = openStoreOf(call);
  std::unique_ptr<SnapshotObject> held(new SnapshotObject{store.snapshot()});
  return wrap(call.env, environmentOf(call).snapshotClass, std::move(held));
}

napi_value releaseSnapshot(const Call& call) {
  unwrap<SnapshotObject>(call.env, call.self, "Snapshot").snapshot.reset();
  return undefined(call.env);
}

napi_value checkpoint(const Call& call) {
  Store& store = openStoreOf(call);
  std::string path = pathArgument(call.env, call[0], "Path of the checkpoint");
  return read(call, store, [&store, path = std::move(path)]() -> Maker {
    store.checkpoint(path);
    return undefined;
  });
}

napi_value flush(const Call& call) {
  Store& store = openStoreOf(call);
  const bool all = isUndefined(call.env, call[0]);
  std::vector<std::shared_ptr<Family>> families;
  if (all) {
    families = store.families();
  } else {
    families.push_back(store.family(familyArgument(call.env, call[0])));
  }
  return read(call, store, [&store, all, families = std::move(families)]() -> Maker {
    for (const auto& family : families) {
      store.assertWritable();
      const rocksdb::Status status = store.db().Flush(rocksdb::FlushOptions(), family->handle);
      if (!(all && status.IsColumnFamilyDropped())) store.check(status, "flush");
    }
    return undefined;
  });
}

napi_value compact(const Call& call) {
  Store& store = openStoreOf(call);
  auto family = store.family(familyArgument(call.env, call[0]));
  return read(call, store, [&store, family]() -> Maker {
    store.assertWritable();
    rocksdb::CompactRangeOptions options;
    options.exclusive_manual_compaction = false;
    options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
    store.check(store.db().CompactRange(options, family->handle, nullptr, nullptr), "compact");
    return undefined;
  });
}

napi_value limitCompactions(const Call& call) {
  const uint64_t room = integerArgument(call.env, call[0], "Room for compactions", 0, mostOptionBytes);
  openStoreOf(call).limitCompactions(room);
  return undefined(call.env);
}

napi_value columnFamilies(const Call& call) {
  Store& store = openStoreOf(call);
  napi_value list;
  check(call.env, napi_create_array(call.env, &list), "create an array");
  uint32_t index = 0;
  for (const auto& family : store.families()) {
    napi_value object = newObject(call.env);
    set(call.env, object, "name", toString(call.env, family->handle->GetName()));
    set(call.env, object, "id", toNumber(call.env, family->handle->GetID()));
    check(call.env, napi_set_element(call.env, list, index++, object), "fill an array");
  }
  return list;
}

napi_value toBigint(napi_env env, uint64_t number) {
  napi_value value;
  check(env, napi_create_bigint_uint64(env, number, &value), "create a bigint");
  return value;
}

napi_value latestSequenceNumber(const Call& call) {
  return toBigint(call.env, openStoreOf(call).db().GetLatestSequenceNumber());
}

napi_value databaseProperty(const Call& call) {
  Store& store = openStoreOf(call);
  auto family = store.family(familyArgument(call.env, call[0]));
  const std::string name = stringArgument(call.env, call[1], "Name of a property", 1, 255);
  std::string value;
  if (!store.db().GetProperty(family->handle, name, &value)) return undefined(call.env);
  return toString(call.env, value);
}

napi_value syncedManifest(const Call& call) {
  std::vector<std::string> files;
  uint64_t size = 0;
  check(openStoreOf(call).db().GetLiveFiles(files, &size, false), "look at the manifest");
  napi_value object = newObject(call.env);
  for (const std::string& file : files) {
    if (file.rfind("/MANIFEST-", 0) == 0) set(call.env, object, "name", toString(call.env, file.substr(1)));
  }
  set(call.env, object, "bytes", toNumber(call.env, static_cast<double>(size)));
  return object;
}

napi_value statistics(const Call& call) {
  const rocksdb::Statistics& statistics = openStoreOf(call).statistics();
  napi_value counters = newObject(call.env);
  for (const auto& [ticker, name] : rocksdb::TickersNameMap) {
    set(call.env, counters, name.c_str(), toBigint(call.env, statistics.getTickerCount(ticker)));
  }
  return counters;
}

napi_value close(const Call& call) {
  Store& store = storeOf(call);
  napi_deferred deferred;
  napi_value promise = environmentOf(call).settler->promise(&deferred);
  store.close(deferred);
  return promise;
}

// ---- open

StoreOptions storeOptions(const Call& call) {
  napi_env env = call.env;
  StoreOptions options;
  options.path = pathArgument(env, call[0], "Path of the database");
  if (isUndefined(env, call[1])) return options;
  objectArgument(env, call[1], "Open options");
  if (napi_value create = property(env, call[1], "createIfMissing"); !isUndefined(env, create)) {
    options.createIfMissing = booleanArgument(env, create, "Option createIfMissing");
  }
  auto size = [&](const char* name, size_t* to) {
    napi_value value = property(env, call[1], name);
    if (isUndefined(env, value)) return;
    *to = integerArgument(env, value, (std::string("Option ") + name).c_str(), size_t{1} << 20, mostOptionBytes);
  };
  size("dbWriteBufferBytes", &options.dbWriteBufferBytes);
  size("maxTotalWalBytes", &options.maxTotalWalBytes);
  size("blockCacheBytes", &options.blockCacheBytes);
  return options;
}

void callBack(napi_env env, const Callback& callback, const Failure& failure) {
  napi_value function, ignored, error = toError(env, failure.code(), failure.what());
  if (callback.function == nullptr || error == nullptr) return;
  if (napi_get_reference_value(env, callback.function, &function) != napi_ok) return;
  if (napi_call_function(env, undefined(env), function, 1, &error, &ignored) != napi_pending_exception) return;
  napi_value thrown;
  if (napi_get_and_clear_last_exception(env, &thrown) == napi_ok) napi_fatal_exception(env, thrown);
}

napi_value openDatabase(const Call& call) {
  Environment& environment = environmentOf(call);
  StoreOptions options = storeOptions(call);
  auto callback = std::make_shared<Callback>(Callback{call.env, nullptr});
  Store::ErrorListener listener;
  if (!isUndefined(call.env, call[1])) {
    napi_value function = property(call.env, call[1], "onBackgroundError");
    if (!isUndefined(call.env, function)) {
      if (typeOf(call.env, function) != napi_function) invalid("Option onBackgroundError must be a function");
      check(call.env, napi_create_reference(call.env, function, 1, &callback->function), "keep a function");
      listener = [callback, settler = environment.settler](const Failure& failure) {
        settler->post([callback, failure](napi_env env) -> napi_value {
          callBack(env, *callback, failure);
          return nullptr;
        });
      };
    }
  }
  auto store = Store::make(environment.settler, std::move(options), std::move(listener));
  napi_deferred deferred;
  napi_value promise = environment.settler->promise(&deferred);
  store->read(deferred, [store = store.get(), callback, &environment]() -> Maker {
    std::optional<Failure> failure;
    try {
      store->open();
    } catch (const Failure& thrown) {
      failure = thrown;
    } catch (const std::exception& thrown) {
      failure = Failure("IO_ERROR", thrown.what());
    }
    return [self = store->shared_from_this(), callback, &environment, failure](napi_env env) {
      std::unique_ptr<Database> database(new Database{self, callback});  // closes the store when it goes
      if (failure) throw *failure;
      return wrap(env, environment.databaseClass, std::move(database));
    };
  });
  return promise;
}

// On a store that is never opened, so that the work has a thread that the end of the environment waits for.
napi_value withoutDatabase(const Call& call, Work work) {
  Environment& environment = environmentOf(call);
  auto store = Store::make(environment.settler, StoreOptions(), nullptr);
  napi_deferred deferred;
  napi_value promise = environment.settler->promise(&deferred);
  store->read(deferred, std::move(work));
  store->close(nullptr);
  return promise;
}

napi_value peek(const Call& call) {
  std::string path = pathArgument(call.env, call[0], "Path of the database");
  Keys keys = keysArgument(call.env, call[1]);
  return withoutDatabase(call, [path = std::move(path), keys = std::move(keys)]() -> Maker {
    auto answer = std::make_shared<Entries>(peekAt(path, keys));
    return [answer](napi_env env) { return toObject(env, answer.get()); };
  });
}

napi_value allocate(const Call& call) {
  std::string path = pathArgument(call.env, call[0], "Path of the file");
  const uint64_t bytes = integerArgument(call.env, call[1], "Bytes", 1, mostOptionBytes);
  return withoutDatabase(call, [path = std::move(path), bytes]() -> Maker {
    allocateFile(path, bytes);
    return undefined;
  });
}

napi_value listColumnFamilies(const Call& call) {
  std::string path = pathArgument(call.env, call[0], "Path of the database");
  return withoutDatabase(call, [path = std::move(path)]() -> Maker {
    return [names = listFamilies(path)](napi_env env) {
      napi_value list;
      check(env, napi_create_array(env, &list), "create an array");
      for (size_t i = 0; i < names.size(); i++) {
        check(env, napi_set_element(env, list, static_cast<uint32_t>(i), toString(env, names[i])), "fill an array");
      }
      return list;
    };
  });
}

napi_value checkTableFile(const Call& call) {
  std::string path = pathArgument(call.env, call[0], "Path of the table file");
  return withoutDatabase(call, [path = std::move(path)]() -> Maker {
    return [found = checkTable(path)](napi_env env) {
      napi_value object = newObject(env);
      if (!found.family.empty()) set(env, object, "columnFamily", toString(env, found.family));
      if (!found.damage.empty()) set(env, object, "damage", toString(env, found.damage));
      return object;
    };
  });
}

napi_value closeAll(const Call& call) {
  Store::closeAll(environmentOf(call).settler.get());
  return undefined(call.env);
}

}  // namespace

void initRocksdb(napi_env env, napi_value exports) {
  auto* environment = new Environment{std::make_shared<Settler>(env), nullptr, nullptr};
  environment->databaseClass =
      defineClass(env, "Database",
                  {
                      method("limitCompactions", throwing<limitCompactions>, environment),
                      method("columnFamilies", throwing<columnFamilies>, environment),
                      method("createColumnFamily", rejecting<createColumnFamily>, environment),
                      method("dropColumnFamily", rejecting<dropColumnFamily>, environment),
                      method("write", rejecting<write>, environment),
                      method("multiGet", rejecting<multiGet>, environment),
                      method("scan", rejecting<scan>, environment),
                      method("snapshot", throwing<snapshot>, environment),
                      method("checkpoint", rejecting<checkpoint>, environment),
                      method("flush", rejecting<flush>, environment),
                      method("compact", rejecting<compact>, environment),
                      method("latestSequenceNumber", throwing<latestSequenceNumber>, environment),
                      method("property", throwing<databaseProperty>, environment),
                      method("syncedManifest", throwing<syncedManifest>, environment),
                      method("statistics", throwing<statistics>, environment),
                      method("close", rejecting<close>, environment),
                  });
  environment->snapshotClass = defineClass(env, "Snapshot", {method("release", throwing<releaseSnapshot>)});
  const std::vector<napi_property_descriptor> functions = {
      method("openDatabase", rejecting<openDatabase>, environment),
      method("listColumnFamilies", rejecting<listColumnFamilies>, environment),
      method("peekDatabase", rejecting<peek>, environment),
      method("allocateFile", rejecting<allocate>, environment),
      method("checkTable", rejecting<checkTableFile>, environment),
      method("closeDatabases", throwing<closeAll>, environment),
  };
  check(env, napi_define_properties(env, exports, functions.size(), functions.data()), "export the functions");

  // Runs before the thread-safe function's own hook, which was added earlier.
  auto end = [](void* data) {
    const std::unique_ptr<Environment> ending(static_cast<Environment*>(data));
    Store::closeAll(ending->settler.get());
    ending->settler->close();
  };
  check(env, napi_add_env_cleanup_hook(env, end, environment), "add a clean-up hook");
}

}  // namespace quiver
