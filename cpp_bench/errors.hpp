// A message says what was got, what was expected and what to do, in one line.
#pragma once

#include <stdexcept>

namespace sal {

/// Anything that stops the bench; exit code 1.
class Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

/// The command line is wrong; exit code 2.
class UsageError : public Error {
  public:
    using Error::Error;
};

}  // namespace sal
