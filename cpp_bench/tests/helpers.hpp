// What several tests need.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

#include "errors.hpp"
#include "files.hpp"

namespace sal {

/// A folder that is removed with everything in it.
class TemporaryFolder {
  public:
    TemporaryFolder() {
        std::string pattern = (std::filesystem::temp_directory_path() / "sal_bench.XXXXXX").string();
        if (mkdtemp(pattern.data()) == nullptr) {
            throw Error("no temporary folder");
        }
        path_ = pattern;
    }
    ~TemporaryFolder() { std::filesystem::remove_all(path_); }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

/// The message of the Error that `work` throws; empty if it throws none.
template <typename Work>
std::string error_of(const Work& work) {
    try {
        work();
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

inline bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

}  // namespace sal
