// Whole files in, whole files out, and their hashes.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace sal {

/// The content of a file.
///
/// Throws Error, naming the file and the reason.
std::string read_file(const std::filesystem::path& path);

/// Write a file under a temporary name, then rename it: under its own name it is always whole.
///
/// Throws Error, naming the file and the reason.
void write_file(const std::filesystem::path& path, std::string_view content);

/// sha256, 64 hex digits.
std::string sha256_hex(std::string_view content);

}  // namespace sal
