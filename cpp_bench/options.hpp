// The command line.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "timing.hpp"

namespace sal {

struct Options {
    bool help = false;
    std::string bundle;
    std::string engine;                   ///< TensorRT engine file; empty for none
    std::string onnxruntime;              ///< library file; empty to search for it
    std::vector<std::string> precisions;  ///< of image encoders; empty for all
    std::vector<std::size_t> batches{1, 8, 16, 32};
    std::vector<std::size_t> threads;  ///< of one run; all cores if not given
    std::vector<std::size_t> streams{1};
    std::size_t search_items = 0;  ///< 0 for no search
    TimingSettings timing;
    std::string json;         ///< file, or `-` for stdout and nothing else there; empty for none
    std::string dump_golden;  ///< folder; empty for none
};

/// Parse argv.
///
/// Throws UsageError for anything it does not know; says what was expected.
Options parse_options(int argc, char** argv);

/// What --help prints.
std::string help_text();

}  // namespace sal
