// Saves a VectorGraph to a file and loads it.
//
// Little-endian; n nodes, t tail rows, d the dimension, u the lists of all nodes above level 0:
//
//     header            64 bytes, see GraphFile::Header
//     levels            n x u8             level of each node
//     deleted           ceil(n/32) x u32   a bit per node
//     upper lists       u x (1 + m) x u32  node by node, from level 1 up: link count, links
//     nodes             n x [link count u32 | links 2m x u32 | vector d x f32 | ordinal u64]
//     tail ordinals     t x u32
//     tail vectors      t x d x f32
//     checksum          u32                CRC-32 of everything before
//
// The vectors are as they are held: normalised for cosine.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <unordered_map>

#include "vector-graph.h"

namespace quiver {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file format is the memory's layout");

[[noreturn]] inline void failIo(const std::string& doing, const std::string& path) {
  throw Failure("IO_ERROR", "Cannot " + doing + " \"" + path + "\": " + std::strerror(errno));
}

class FileHandle {
 public:
  FileHandle(const std::string& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {
    if (fd_ < 0) failIo("open", path);
  }
  ~FileHandle() { ::close(fd_); }
  FileHandle(const FileHandle&) = delete;
  FileHandle& operator=(const FileHandle&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

// Writes a file that appears under its name only when it is complete and on disk; nothing is left when `isStopped`.
class AtomicFile {
 public:
  AtomicFile(const std::string& path, const std::function<bool()>& isStopped)
      : path_(path), temporary_(path + ".tmp"), isStopped_(isStopped), file_(temporary_, O_WRONLY | O_CREAT | O_TRUNC) {
    buffer_.reserve(bufferBytes);
  }
  ~AtomicFile() {
    if (!complete_) ::unlink(temporary_.c_str());
  }

  void write(const void* data, size_t size) {
    const uint8_t* bytes = static_cast<const uint8_t*>(data);
    while (size > 0) {
      const size_t part = std::min(size, bufferBytes - buffer_.size());
      buffer_.insert(buffer_.end(), bytes, bytes + part);
      bytes += part;
      size -= part;
      if (buffer_.size() == bufferBytes) flush();
    }
  }

  // Adds the checksum of all that was written.
  void complete() {
    flush();
    const uint32_t checksum = checksum_;
    write(&checksum, sizeof checksum);
    flush();
    if (::fsync(file_.fd()) != 0) failIo("write", temporary_);
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) failIo("rename a file to", path_);
    complete_ = true;
    const size_t slash = path_.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
    FileHandle directory(folder, O_RDONLY | O_DIRECTORY);
    if (::fsync(directory.fd()) != 0) failIo("write", folder);
  }

 private:
  static constexpr size_t bufferBytes = 1 << 20;
  // Written back in parts, so that an fsync of the store beside it never waits for more than one.
  static constexpr size_t unsyncedMost = 32 << 20;

  void flush() {
    if (isStopped_()) throw Failure("DISPOSED", "The graph is disposed");
    checksum_ = static_cast<uint32_t>(crc32(checksum_, buffer_.data(), static_cast<uInt>(buffer_.size())));
    for (size_t written = 0; written < buffer_.size();) {
      const ssize_t size = ::write(file_.fd(), buffer_.data() + written, buffer_.size() - written);
      if (size < 0 && errno != EINTR) failIo("write", temporary_);
      if (size > 0) written += static_cast<size_t>(size);
    }
    unsynced_ += buffer_.size();
    buffer_.clear();
    if (unsynced_ < unsyncedMost) return;
    if (::fsync(file_.fd()) != 0) failIo("write", temporary_);
    unsynced_ = 0;
  }

  const std::string path_;
  const std::string temporary_;
  const std::function<bool()>& isStopped_;
  const FileHandle file_;
  std::vector<uint8_t> buffer_;
  size_t unsynced_ = 0;
  uint32_t checksum_ = 0;
  bool complete_ = false;
};

class GraphFile {
 public:
  // The state of a graph at one moment, for a save that runs later. Vectors that are added or removed in between are
  // not in the file or still in it.
  struct Moment {
    std::vector<TailSpan> tail;
    std::vector<std::vector<uint32_t>> tailOrdinals;  // of each span
    std::vector<uint32_t> deleted;
    size_t slots;
  };

  static Moment moment(const VectorGraph& graph) {
    std::lock_guard<std::mutex> lock(graph.mutex_);
    Moment moment = {graph.tail_.spans(), {}, {}, graph.slots()};
    for (const TailSpan& span : moment.tail) {
      const std::atomic<uint32_t>* ordinals = span.chunk->ordinals.get();
      moment.tailOrdinals.emplace_back(ordinals + span.first, ordinals + span.last);
    }
    for (size_t word = 0; word * 32 < moment.slots; ++word) moment.deleted.push_back(graph.deleted_[word]);
    return moment;
  }

  // While no build runs; searches may. Ends early once the graph is stopped, or when `stop`.
  static void save(const VectorGraph& graph, Moment moment, const std::string& path,
                   const std::function<bool()>& stop) {
    const GraphSettings& settings = graph.settings();
    const Hnsw* hnsw = graph.graph();
    const size_t nodes = graph.slots();
    markNodesOfLater(graph, moment);
    Header header = {};
    std::memcpy(header.magic, magic, sizeof header.magic);
    header.version = formatVersion;
    header.metric = static_cast<uint32_t>(settings.metric);
    header.dimension = static_cast<uint32_t>(settings.dimension);
    header.m = static_cast<uint32_t>(settings.m);
    header.nodes = static_cast<uint32_t>(nodes);
    header.maxLevel = hnsw == nullptr ? -1 : hnsw->maxlevel_;
    header.entryPoint = hnsw == nullptr ? nowhere : hnsw->enterpoint_node_;
    std::vector<uint8_t> levels(nodes);
    for (size_t i = 0; i < nodes; ++i) {
      levels[i] = static_cast<uint8_t>(hnsw->element_levels_[i]);
      header.upperLists += levels[i];
    }
    for (const auto& ordinals : moment.tailOrdinals) {
      header.tailRows += std::count_if(ordinals.begin(), ordinals.end(), [](uint32_t o) { return o != nowhere; });
    }
    header.byteLength = lengthOf(header);

    const std::function<bool()> isStopped = [&] { return graph.stopped_ || stop(); };
    AtomicFile file(path, isStopped);
    file.write(&header, sizeof header);
    file.write(levels.data(), levels.size());
    file.write(moment.deleted.data(), moment.deleted.size() * sizeof(uint32_t));
    for (size_t i = 0; i < nodes; ++i) file.write(hnsw->linkLists_[i], levels[i] * hnsw->size_links_per_element_);
    if (nodes > 0) file.write(hnsw->data_level0_memory_, nodes * hnsw->size_data_per_element_);
    forEachTailRow(moment, [&](uint32_t ordinal, const TailSpan&, size_t) { file.write(&ordinal, sizeof ordinal); });
    forEachTailRow(moment, [&](uint32_t, const TailSpan& span, size_t row) {
      file.write(span.chunk->vectors.get() + row * settings.dimension, settings.dimension * sizeof(float));
    });
    file.complete();
  }

  static std::shared_ptr<VectorGraph> load(const std::string& path, const GraphSettings& settings) {
    FileHandle file(path, O_RDONLY | O_NONBLOCK);  // does not hang on a pipe
    struct stat status;
    if (::fstat(file.fd(), &status) != 0) failIo("read", path);
    if (!S_ISREG(status.st_mode)) corrupt("it is not a regular file");
    Reader reader(file.fd(), path);
    Header header;
    if (static_cast<uint64_t>(status.st_size) < sizeof header + sizeof(uint32_t)) corrupt("it is too short");
    reader.read(&header, sizeof header);
    requireHeader(header, static_cast<uint64_t>(status.st_size), settings);

    // Nothing of what is read is followed before the checksum is known to be right.
    auto graph = std::make_shared<VectorGraph>(settings);
    if (header.nodes > 0) graph->makeRoom(header.nodes);
    Hnsw* hnsw = graph->graph();
    std::vector<uint8_t> levels(header.nodes);
    std::vector<uint32_t> deleted((size_t{header.nodes} + 31) / 32);
    std::vector<uint32_t> upper(header.upperLists * (1 + settings.m));
    std::vector<uint32_t> tailOrdinals(header.tailRows);
    std::vector<float> tailVectors(size_t{header.tailRows} * settings.dimension);
    reader.read(levels.data(), levels.size());
    reader.read(deleted.data(), deleted.size() * sizeof(uint32_t));
    reader.read(upper.data(), upper.size() * sizeof(uint32_t));
    if (hnsw != nullptr) reader.read(hnsw->data_level0_memory_, header.nodes * hnsw->size_data_per_element_);
    reader.read(tailOrdinals.data(), tailOrdinals.size() * sizeof(uint32_t));
    reader.read(tailVectors.data(), tailVectors.size() * sizeof(float));
    reader.requireChecksum();

    if (hnsw != nullptr) {
      requireLevels(header, levels);
      requireLinks(*hnsw, header, settings, levels, upper);
      adoptNodes(*graph, header, levels, deleted, upper);
    }
    adoptTail(*graph, tailOrdinals, tailVectors);
    return graph;
  }

 private:
  struct Header {
    char magic[8];
    uint32_t version;
    uint32_t metric;      // the numbers of Metric
    uint64_t byteLength;  // of the file, checksum included
    uint32_t dimension;
    uint32_t m;
    uint32_t nodes;
    uint32_t tailRows;
    int32_t maxLevel;     // -1: no node
    uint32_t entryPoint;  // 0xFFFFFFFF: no node
    uint64_t upperLists;
    uint64_t reserved;  // 0
  };
  static_assert(sizeof(Header) == 64, "no padding");

  static constexpr char magic[] = "QVRGRAPH";
  static constexpr uint32_t formatVersion = 1;
  static constexpr int levelMost = 63;  // 53 bits of chance and m >= 2 give at most 53

  class Reader {
   public:
    Reader(int fd, const std::string& path) : fd_(fd), path_(path) {}

    void read(void* to, size_t size) {
      if (size == 0) return;  // for zlib a null buffer means: begin anew
      readRaw(static_cast<uint8_t*>(to), size);
      checksum_ = static_cast<uint32_t>(crc32_z(checksum_, static_cast<const Bytef*>(to), size));
    }

    void requireChecksum() {
      uint32_t stored = 0;
      readRaw(reinterpret_cast<uint8_t*>(&stored), sizeof stored);
      if (stored != checksum_) corrupt("its checksum is wrong");
    }

   private:
    void readRaw(uint8_t* to, size_t size) {
      while (size > 0) {
        const ssize_t count = ::read(fd_, to, std::min<size_t>(size, 1 << 30));
        if (count < 0 && errno != EINTR) failIo("read", path_);
        if (count == 0) corrupt("it is too short");
        if (count > 0) to += count, size -= static_cast<size_t>(count);
      }
    }

    const int fd_;
    const std::string path_;
    uint32_t checksum_ = 0;
  };

  [[noreturn]] static void corrupt(const std::string& why) {
    throw Failure("CORRUPTION", "Cannot load the graph file: " + why);
  }

  static uint64_t lengthOf(const Header& h) {
    const uint64_t nodeBytes = 4 + 8 * uint64_t{h.m} + 4 * uint64_t{h.dimension} + 8;
    return sizeof(Header) + h.nodes + (uint64_t{h.nodes} + 31) / 32 * 4 + h.upperLists * (1 + h.m) * 4 +
           h.nodes * nodeBytes + h.tailRows * (4 + 4 * uint64_t{h.dimension}) + 4;
  }

  static void requireHeader(const Header& h, uint64_t size, const GraphSettings& settings) {
    if (std::memcmp(h.magic, magic, sizeof h.magic) != 0) corrupt("it is not a graph file");
    if (h.version != formatVersion) corrupt("its format version is " + std::to_string(h.version) + ", not 1");
    if (h.dimension != settings.dimension) corrupt("its dimension is " + std::to_string(h.dimension));
    if (h.metric != static_cast<uint32_t>(settings.metric)) corrupt("it was saved with another metric");
    if (h.m != settings.m) corrupt("its m is " + std::to_string(h.m));
    const bool plausible = h.nodes < tailBit && h.upperLists <= uint64_t{h.nodes} * levelMost && h.reserved == 0;
    if (!plausible || h.byteLength != size || lengthOf(h) != size) corrupt("its length does not fit its header");
  }

  static void requireLevels(const Header& header, const std::vector<uint8_t>& levels) {
    uint64_t lists = 0;
    int highest = 0;
    for (uint8_t level : levels) {
      lists += level;
      highest = std::max<int>(highest, level);
    }
    if (lists != header.upperLists || highest > levelMost || highest != header.maxLevel ||
        header.entryPoint >= header.nodes || levels[header.entryPoint] != highest) {
      corrupt("its levels contradict each other");
    }
  }

  static void requireLinks(const Hnsw& hnsw, const Header& header, const GraphSettings& settings,
                           const std::vector<uint8_t>& levels, const std::vector<uint32_t>& upper) {
    const auto require = [&](const uint32_t* list, size_t most, uint32_t node, int level) {
      bool good = list[0] <= most;
      for (size_t i = 1; good && i <= list[0]; ++i) {
        good = list[i] < header.nodes && list[i] != node && levels[list[i]] >= level;
      }
      if (!good) corrupt("the links of node " + std::to_string(node) + " are impossible");
    };
    const uint32_t* list = upper.data();
    for (uint32_t node = 0; node < header.nodes; ++node) {
      require(hnsw.get_linklist0(node), 2 * settings.m, node, 0);
      for (int level = 1; level <= levels[node]; ++level, list += 1 + settings.m) {
        require(list, settings.m, node, level);
      }
    }
  }

  static void adoptNodes(VectorGraph& graph, const Header& header, const std::vector<uint8_t>& levels,
                         const std::vector<uint32_t>& deleted, const std::vector<uint32_t>& upper) {
    Hnsw& hnsw = *graph.graph();
    const uint32_t* list = upper.data();
    for (uint32_t slot = 0; slot < header.nodes; ++slot) {
      hnsw.adopt(slot, levels[slot], list);
      list += levels[slot] * (1 + graph.settings().m);
      if (deleted[slot / 32] >> slot % 32 & 1) {
        graph.markDeleted(slot);
        continue;
      }
      const uint64_t ordinal = hnsw.getExternalLabel(slot);
      requireVector(graph, ordinal, hnsw.vectorAt(slot));
      graph.locations_.set(static_cast<uint32_t>(ordinal), slot);
    }
    hnsw.maxlevel_ = header.maxLevel;
    hnsw.enterpoint_node_ = header.entryPoint;
  }

  static void adoptTail(VectorGraph& graph, const std::vector<uint32_t>& ordinals, const std::vector<float>& vectors) {
    const size_t dimension = graph.settings().dimension;
    const std::vector<TailSpan> rows = graph.tail_.plan(ordinals.size());
    const float* from = vectors.data();
    for (const TailSpan& span : rows) {
      const size_t values = (span.last - span.first) * dimension;
      std::copy(from, from + values, span.chunk->vectors.get() + span.first * dimension);
      from += values;
    }
    for (size_t i = 0; i < ordinals.size(); ++i) requireVector(graph, ordinals[i], vectors.data() + i * dimension);
    std::vector<uint32_t> sorted = ordinals;
    std::sort(sorted.begin(), sorted.end());
    if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) corrupt("an ordinal is there twice");
    graph.tail_.append(rows, ordinals.data(), graph.locations_);
  }

  // Makes room for the ordinal, too.
  static void requireVector(VectorGraph& graph, uint64_t ordinal, const float* vector) {
    if (ordinal >= nowhere) corrupt("an ordinal is impossible");
    graph.locations_.reserve(static_cast<uint32_t>(ordinal));
    if (graph.locations_.get(static_cast<uint32_t>(ordinal)) != nowhere) corrupt("an ordinal is there twice");
    for (size_t i = 0; i < graph.settings().dimension; ++i) {
      if (!std::isfinite(vector[i])) corrupt("a value is not finite");
    }
  }

  // The nodes that were built after the moment: those of vectors from the tail of the moment belong into the file, as
  // nodes instead of tail rows; the others came later and are written as deleted.
  static void markNodesOfLater(const VectorGraph& graph, Moment& moment) {
    const size_t nodes = graph.slots();
    if (nodes == moment.slots) return;
    std::unordered_map<uint32_t, std::pair<uint32_t*, const float*>> tail;
    const size_t dimension = graph.settings().dimension;
    for (size_t i = 0; i < moment.tail.size(); ++i) {
      const TailSpan& span = moment.tail[i];
      for (size_t row = span.first; row < span.last; ++row) {
        uint32_t& ordinal = moment.tailOrdinals[i][row - span.first];
        if (ordinal != nowhere) tail[ordinal] = {&ordinal, span.chunk->vectors.get() + row * dimension};
      }
    }
    moment.deleted.resize((nodes + 31) / 32);
    for (size_t slot = moment.slots; slot < nodes; ++slot) {
      const auto found = tail.find(graph.graph()->ordinalAt(static_cast<uint32_t>(slot)));
      const float* vector = graph.graph()->vectorAt(static_cast<uint32_t>(slot));
      if (found != tail.end() && std::memcmp(found->second.second, vector, dimension * sizeof(float)) == 0) {
        *found->second.first = nowhere;
        tail.erase(found);
      } else {
        moment.deleted[slot / 32] |= 1u << slot % 32;
      }
    }
  }

  template <typename Visit>
  static void forEachTailRow(const Moment& moment, Visit visit) {
    for (size_t i = 0; i < moment.tail.size(); ++i) {
      const TailSpan& span = moment.tail[i];
      for (size_t row = span.first; row < span.last; ++row) {
        const uint32_t ordinal = moment.tailOrdinals[i][row - span.first];
        if (ordinal != nowhere) visit(ordinal, span, row);
      }
    }
  }
};

}  // namespace quiver
