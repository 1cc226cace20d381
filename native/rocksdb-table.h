// Checks one table file of a database, open or not, without its database.
#pragma once

#include <string>

namespace quiver {

struct TableCheck {
  std::string family;  // the name of the column family that it belongs to; empty when that cannot be read
  std::string damage;  // what is wrong; empty when every checksum matches
};

// Reads all of the file. Throws where that fails for another reason than its bytes.
TableCheck checkTable(const std::string& path);

}  // namespace quiver
