// What a measured number must name: the machine and the command that made it.
#pragma once

#include <string>

namespace sal {

struct Machine {
    std::string cpu;
    unsigned cores;
    std::string gpu;  ///< of the first NVIDIA GPU; empty without one
    std::string os;
};

/// No names of hosts or people.
Machine this_machine();

/// A command as it was typed, absolute paths cut to their last part.
std::string command_line(int argc, char** argv);

/// UTC, as 2026-11-24T15:00:00Z.
std::string now_utc();

}  // namespace sal
