#include "rocksdb-table.h"

#include <rocksdb/options.h>
#include <rocksdb/sst_file_reader.h>
#include <rocksdb/table.h>
#include <rocksdb/table_properties.h>

#include "rocksdb-store.h"

namespace quiver {
namespace {

constexpr size_t readaheadBytes = size_t{1} << 20;

bool isDamage(const rocksdb::Status& status) {
  return status.IsCorruption() || status.IsNotSupported() || status.IsInvalidArgument();
}

}  // namespace

TableCheck checkTable(const std::string& path) {
  rocksdb::Options options;
  rocksdb::BlockBasedTableOptions table;
  table.no_block_cache = true;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  rocksdb::SstFileReader reader(options);
  TableCheck found;
  rocksdb::Status status = reader.Open(path);
  if (status.ok()) {
    found.family = reader.GetTableProperties()->column_family_name;
    rocksdb::ReadOptions all;
    all.readahead_size = readaheadBytes;
    status = reader.VerifyChecksum(all);
  }
  if (isDamage(status)) {
    found.damage = status.ToString();
  } else {
    check(status, "read a table file");
  }
  return found;
}

}  // namespace quiver
