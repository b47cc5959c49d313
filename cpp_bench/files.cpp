#include "files.hpp"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include "errors.hpp"

namespace sal {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, int reason) {
    throw Error(path.string() + ": " + std::strerror(reason));
}

/// Everything written and on the disk, or the reason why not; 0 if all went well.
int write_synced(int descriptor, std::string_view content) {
    while (!content.empty()) {
        const ssize_t written = ::write(descriptor, content.data(), content.size());
        if (written < 0 && errno != EINTR) {
            return errno;
        }
        content.remove_prefix(written < 0 ? 0 : static_cast<std::size_t>(written));
    }
    return ::fsync(descriptor) == 0 ? 0 : errno;
}

}  // namespace

std::string read_file(const std::filesystem::path& path) {
    if (std::filesystem::is_directory(path)) {
        fail(path, EISDIR);  // an ifstream opens a directory, and then reads nothing
    }
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    std::string content{std::istreambuf_iterator<char>(file), {}};
    if (!file.is_open() || file.bad()) {
        fail(path, errno == 0 ? EIO : errno);
    }
    return content;
}

void write_file(const std::filesystem::path& named, std::string_view content) {
    // what a link points to, as the link itself would be replaced; and no device or pipe would survive that
    const std::filesystem::path path = std::filesystem::exists(named) ? std::filesystem::canonical(named) : named;
    if (std::filesystem::exists(path) && !std::filesystem::is_regular_file(path)) {
        throw Error(named.string() + ": there is something else than a file; name another");
    }
    const std::string temporary = path.string() + "." + std::to_string(::getpid());
    const int descriptor = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (descriptor < 0) {
        fail(path, errno);
    }
    int reason = write_synced(descriptor, content);
    if (::close(descriptor) != 0 && reason == 0) {
        reason = errno;
    }
    if (reason == 0 && ::rename(temporary.c_str(), path.c_str()) != 0) {
        reason = errno;
    }
    if (reason != 0) {
        ::unlink(temporary.c_str());
        fail(path, reason);
    }
}

std::string sha256_hex(std::string_view content) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned int length = 0;
    if (EVP_Digest(content.data(), content.size(), digest.data(), &length, EVP_sha256(), nullptr) != 1) {
        throw Error("libcrypto cannot compute sha256 on this machine; check its OpenSSL configuration");
    }
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string hex;
    for (unsigned int i = 0; i < length; ++i) {
        hex += kDigits[digest[i] >> 4];
        hex += kDigits[digest[i] & 15];
    }
    return hex;
}

}  // namespace sal
