#include "machine.hpp"

#include <gnu/libc-version.h>
#include <sys/utsname.h>

#include <array>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <memory>
#include <thread>

namespace sal {
namespace {

std::string cpu_name(const std::string& otherwise) {
    std::ifstream cpuinfo("/proc/cpuinfo");
    for (std::string line; std::getline(cpuinfo, line);) {
        if (line.rfind("model name", 0) == 0 && line.find(": ") != std::string::npos) {
            return line.substr(line.find(": ") + 2);
        }
    }
    return otherwise;
}

std::string gpu_name() {
    std::string name;
    const std::unique_ptr<FILE, int (*)(FILE*)> listed(
        popen("nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null", "r"), pclose);
    std::array<char, 256> line{};
    if (listed != nullptr && std::fgets(line.data(), line.size(), listed.get()) != nullptr) {
        name = line.data();
        name.erase(name.find_last_not_of("\r\n") + 1);
    }
    return name;
}

/// Cut a path, also one behind `--option=`, to its last part if it is absolute; quote what a shell would take apart.
std::string shown(const std::string& argument) {
    const bool is_option = argument.rfind("--", 0) == 0 && argument.find('=') != std::string::npos;
    const std::size_t start = is_option ? argument.find('=') + 1 : 0;
    std::string text = argument;
    if (start < argument.size() && argument[start] == '/') {
        const std::size_t end = argument.find_last_not_of('/') + 1;
        text = argument.substr(0, start) + argument.substr(0, end).substr(argument.substr(0, end).rfind('/') + 1);
    }
    return text.find_first_of(" \t'\"$\\*?") == std::string::npos ? text : "'" + text + "'";
}

}  // namespace

Machine this_machine() {
    utsname name{};
    uname(&name);
    return {
        cpu_name(name.machine), std::thread::hardware_concurrency(), gpu_name(),
        std::string(name.sysname) + "-" + name.release + "-" + name.machine + "-with-glibc" + gnu_get_libc_version()};
}

std::string command_line(int argc, char** argv) {
    std::string command;
    for (int i = 0; i < argc; ++i) {
        command += (i == 0 ? "" : " ") + shown(argv[i]);
    }
    return command;
}

std::string now_utc() {
    const std::time_t now = std::time(nullptr);
    std::tm broken_down{};
    gmtime_r(&now, &broken_down);
    std::array<char, 32> text{};
    std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &broken_down);
    return text.data();
}

}  // namespace sal
