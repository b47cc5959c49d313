#include "npz.hpp"

#include <zip.h>

#include <cstring>
#include <memory>
#include <regex>

#include "errors.hpp"

namespace sal {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kLongestHeader = 10'000;  // numpy's own limit
constexpr const char* kRemedy = "; export the bundle again";

[[noreturn]] void fail(const std::string& name, const std::string& what) {
    throw Error(name + ": " + what + kRemedy);
}

struct Header {
    std::string text;       // the Python dict that describes the array
    std::size_t start = 0;  // of the values
};

Header read_header(const std::string& name, std::string_view content) {
    if (content.size() < 12 || content.substr(0, kMagic.size()) != kMagic) {
        fail(name, "is no .npy array");
    }
    const auto byte = [&](std::size_t at) { return static_cast<std::size_t>(static_cast<unsigned char>(content[at])); };
    const std::size_t version = byte(6);
    if (version < 1 || version > 3) {
        fail(name, ".npy version " + std::to_string(version) + ", expected 1, 2 or 3");
    }
    const std::size_t start = version == 1 ? 10 : 12;
    const std::size_t length = byte(8) | byte(9) << 8 | (version == 1 ? 0 : byte(10) << 16 | byte(11) << 24);
    if (length > kLongestHeader || length > content.size() - start) {
        fail(name, "header of " + std::to_string(length) + " bytes in " + std::to_string(content.size()));
    }
    return {std::string(content.substr(start, length)), start + length};
}

std::string field(const std::string& name, const std::string& header, const std::string& key, const char* value) {
    std::smatch found;
    if (!std::regex_search(header, found, std::regex("'" + key + "'\\s*:\\s*" + value))) {
        fail(name, "no '" + key + "' in the header of a plain array");
    }
    return found[1];
}

std::vector<std::size_t> shape_of(const std::string& name, const std::string& text) {
    std::vector<std::size_t> shape;
    const std::regex number("[0-9]+");
    for (std::sregex_iterator at(text.begin(), text.end(), number), end; at != end; ++at) {
        if (at->length() > 18) {
            fail(name, "an axis of " + at->str() + " elements");
        }
        shape.push_back(std::stoull(at->str()));
    }
    return shape;
}

template <typename Element>
NpyArray array_from(const std::string& name, std::vector<std::size_t> shape, std::string_view bytes) {
    std::size_t expected = sizeof(Element);
    for (const std::size_t axis : shape) {
        if (__builtin_mul_overflow(expected, axis, &expected)) {
            fail(name, "more elements than there is memory");
        }
    }
    if (bytes.size() != expected) {
        fail(name, std::to_string(bytes.size()) + " bytes of values, expected " + std::to_string(expected));
    }
    std::vector<Element> values(bytes.size() / sizeof(Element));
    if (!values.empty()) {
        std::memcpy(values.data(), bytes.data(), bytes.size());
    }
    return {std::move(shape), std::move(values)};
}

std::string zip_message(const std::string& name, zip_error_t* error) {
    std::string message = name + " cannot be read (" + zip_error_strerror(error) + ")" + kRemedy;
    zip_error_fini(error);
    return message;
}

std::string read_member(const std::string& name, zip_t* archive, zip_uint64_t index, const zip_stat_t& status) {
    if (status.comp_method != ZIP_CM_STORE) {
        fail(name, "is compressed, expected it as numpy.savez writes it");
    }
    std::string content;
    std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(zip_fopen_index(archive, index, 0), zip_fclose);
    if (file == nullptr) {
        fail(name, std::string("cannot be read (") + zip_strerror(archive) + ")");
    }
    std::vector<char> buffer(1 << 16);
    while (true) {  // to the end, where libzip compares the checksum
        const zip_int64_t count = zip_fread(file.get(), buffer.data(), buffer.size());
        if (count < 0) {
            fail(name, std::string("cannot be read (") + zip_file_strerror(file.get()) + ")");
        }
        if (count == 0) {
            return content;
        }
        content.append(buffer.data(), static_cast<std::size_t>(count));
    }
}

}  // namespace

NpyArray parse_npy(const std::string& name, std::string_view content) {
    const Header header = read_header(name, content);
    const std::string dtype = field(name, header.text, "descr", "'([^']*)'");
    if (field(name, header.text, "fortran_order", "(True|False)") == "True") {
        fail(name, "is in Fortran order, expected C order");
    }
    std::vector<std::size_t> shape = shape_of(name, field(name, header.text, "shape", "\\(([0-9, ]*)\\)"));
    const std::string_view bytes = content.substr(header.start);
    if (dtype == "|u1") {
        return array_from<std::uint8_t>(name, std::move(shape), bytes);
    }
    if (dtype == "<f4") {
        return array_from<float>(name, std::move(shape), bytes);
    }
    fail(name, "dtype " + dtype + ", expected uint8 (|u1) or float32 (<f4)");
}

std::string npy_from_floats(const std::vector<std::size_t>& shape, const std::vector<float>& values) {
    std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (";
    for (const std::size_t axis : shape) {
        header += std::to_string(axis) + ", ";
    }
    header += "), }";
    header.resize((header.size() + 11 + 63) / 64 * 64 - 11, ' ');  // values start at a multiple of 64
    header += '\n';
    std::string content(kMagic);
    content += {'\1', '\0', static_cast<char>(header.size() & 255), static_cast<char>(header.size() >> 8)};
    content += header;
    const std::size_t start = content.size();
    content.resize(start + values.size() * sizeof(float));
    if (!values.empty()) {
        std::memcpy(content.data() + start, values.data(), values.size() * sizeof(float));
    }
    return content;
}

std::map<std::string, NpyArray> parse_npz(const std::string& name, std::string_view content) {
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t* source = zip_source_buffer_create(content.data(), content.size(), 0, &error);
    zip_t* opened = source == nullptr ? nullptr : zip_open_from_source(source, ZIP_RDONLY, &error);
    if (opened == nullptr) {
        zip_source_free(source);  // an opened archive owns it
        throw Error(zip_message(name, &error));
    }
    const std::unique_ptr<zip_t, void (*)(zip_t*)> archive(opened, zip_discard);
    std::map<std::string, NpyArray> arrays;
    const zip_int64_t count = zip_get_num_entries(opened, 0);
    if (count < 1) {
        fail(name, "holds no array");
    }
    for (zip_uint64_t index = 0; index < static_cast<zip_uint64_t>(count); ++index) {
        zip_stat_t status;
        if (zip_stat_index(opened, index, 0, &status) != 0) {
            fail(name, std::string("cannot be read (") + zip_strerror(opened) + ")");
        }
        std::string member = status.name;
        const std::string where = name + ": " + member;
        if (member.size() < 4 || member.substr(member.size() - 4) != ".npy") {
            fail(where, "is no .npy array");
        }
        member.resize(member.size() - 4);
        arrays[member] = parse_npy(where, read_member(where, opened, index, status));
    }
    return arrays;
}

}  // namespace sal
