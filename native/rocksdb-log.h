// What RocksDB says of its work, in the file LOG of a database.
#pragma once

#include <rocksdb/env.h>

#include <memory>
#include <string>

namespace quiver {

// RocksDB's own log ends the process at the second write that fails; this one loses the line.
std::shared_ptr<rocksdb::Logger> openInfoLog(const std::string& directory);

}  // namespace quiver
