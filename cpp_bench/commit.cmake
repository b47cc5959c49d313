# Write HEADER with the commit of SOURCE, `+` for changes that are not in it, empty where git does not know.
execute_process(COMMAND git -C ${SOURCE} describe --always --dirty=+ --exclude *
  OUTPUT_VARIABLE COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
file(CONFIGURE OUTPUT ${HEADER} CONTENT [[
// made by commit.cmake
#pragma once

namespace sal {

inline constexpr const char* kCommit = "@COMMIT@";

}  // namespace sal
]] @ONLY)
