#include <doctest/doctest.h>
#include <zip.h>

#include "helpers.hpp"
#include "npz.hpp"

using sal::contains;
using sal::error_of;
using sal::npy_from_floats;
using sal::NpyArray;
using sal::parse_npy;
using sal::parse_npz;

namespace {

/// A .npy of version 1.0 by hand.
std::string npy(const std::string& header, const std::string& values) {
    std::string content = "\x93NUMPY";
    content += {'\1', '\0', static_cast<char>(header.size() & 255), static_cast<char>(header.size() >> 8)};
    return content + header + values;
}

std::string bytes(const std::string& descr, const std::string& shape, const std::string& values) {
    return npy("{'descr': '" + descr + "', 'fortran_order': False, 'shape': (" + shape + "), }\n", values);
}

/// An archive with one member, in a file as libzip wants it.
std::string npz(const std::string& name, const std::string& content, zip_int32_t method) {
    const sal::TemporaryFolder folder;
    const std::string path = folder.path() / "a.npz";
    zip_t* archive = zip_open(path.c_str(), ZIP_CREATE, nullptr);
    const zip_int64_t index =
        zip_file_add(archive, name.c_str(), zip_source_buffer(archive, content.data(), content.size(), 0), 0);
    REQUIRE(index >= 0);
    zip_set_file_compression(archive, static_cast<zip_uint64_t>(index), method, 0);
    REQUIRE(zip_close(archive) == 0);
    return sal::read_file(path);
}

}  // namespace

TEST_CASE("uint8 and float32 arrays of any shape") {
    const NpyArray one = parse_npy("a", bytes("|u1", "2, 3", std::string("\0\1\2\xff\4\5", 6)));
    CHECK(one.shape == std::vector<std::size_t>{2, 3});
    CHECK(std::get<std::vector<std::uint8_t>>(one.values) == std::vector<std::uint8_t>{0, 1, 2, 255, 4, 5});

    const NpyArray two = parse_npy("a", bytes("<f4", "1,", std::string("\0\0\x80\x3f", 4)));
    CHECK(two.shape == std::vector<std::size_t>{1});
    CHECK(std::get<std::vector<float>>(two.values) == std::vector<float>{1.0F});

    CHECK(parse_npy("a", bytes("<f4", "", "abcd")).shape.empty());
    CHECK(parse_npy("a", bytes("<f4", "0, 128", "")).shape == std::vector<std::size_t>{0, 128});
}

TEST_CASE("keys of the header in another order, and the long header of version 2") {
    const std::string header = "{'shape': (2,), 'fortran_order': False, 'descr': '|u1'}\n";
    CHECK(parse_npy("a", npy(header, "ab")).shape == std::vector<std::size_t>{2});
    std::string version2 = "\x93NUMPY";
    version2 += {'\2', '\0', static_cast<char>(header.size()), '\0', '\0', '\0'};
    CHECK(parse_npy("a", version2 + header + "ab").shape == std::vector<std::size_t>{2});
}

TEST_CASE("what is no plain array is refused, and the array named") {
    const auto refused = [](const std::string& content, const std::string& why) {
        const std::string message = error_of([&] { parse_npy("golden.npz: images.npy", content); });
        CAPTURE(message);
        CHECK(contains(message, "golden.npz: images.npy"));
        CHECK(contains(message, why));
        CHECK(!contains(message, "\n"));
    };
    refused("", "is no .npy");
    refused("PK, and some more letters", "is no .npy");
    refused(bytes("<f8", "1,", "12345678"), "dtype <f8, expected uint8 (|u1) or float32 (<f4)");
    refused(bytes(">f4", "1,", "1234"), "dtype >f4");
    refused(bytes("|O", "1,", "1234"), "dtype |O");
    refused(bytes("<f4", "2,", "1234"), "4 bytes of values, expected 8");
    refused(bytes("|u1", "2,", "1234"), "4 bytes of values, expected 2");
    refused(bytes("|u1", "4294967296, 4294967296, 4294967296", ""), "more elements");
    refused(bytes("|u1", "99999999999999999999", ""), "an axis of");
    refused(npy("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 2), }", "1234"), "Fortran");
    refused(npy("{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (4,), }", "1234"), "descr");
    refused(npy("{'descr': '|u1', 'fortran_order': False, }", "1234"), "shape");
    refused(std::string("\x93NUMPY\4\0\2\0\0\0{}", 14), "version 4");
    refused(std::string("\x93NUMPY\1\0\xff\xff{}  ", 14), "header of 65535 bytes");
    refused(std::string("\x93NUMPY\2\0\xff\xff\xff\xff{}  ", 16), "header of 4294967295 bytes");
}

TEST_CASE("floats are written so that they are read back") {
    const std::string written = npy_from_floats({2, 2}, {1.0F, -2.5F, 3.0F, 0.0F});
    CHECK(written.size() == 128 + 16);  // values begin at a multiple of 64
    const NpyArray read = parse_npy("a", written);
    CHECK(read.shape == std::vector<std::size_t>{2, 2});
    CHECK(std::get<std::vector<float>>(read.values) == std::vector<float>{1.0F, -2.5F, 3.0F, 0.0F});
}

TEST_CASE("an archive of arrays, uncompressed") {
    const std::string array = bytes("|u1", "4,", "abcd");
    const auto arrays = parse_npz("a.npz", npz("images.npy", array, ZIP_CM_STORE));
    REQUIRE(arrays.size() == 1);
    CHECK(arrays.at("images").shape == std::vector<std::size_t>{4});

    CHECK(contains(error_of([&] { parse_npz("a.npz", npz("images.npy", array, ZIP_CM_DEFLATE)); }),
                   "a.npz: images.npy: is compressed, expected it as numpy.savez writes it"));
    CHECK(contains(error_of([&] { parse_npz("a.npz", npz("notes.txt", array, ZIP_CM_STORE)); }), "notes.txt"));
}

TEST_CASE("a damaged archive is refused: truncated anywhere, or with a changed value") {
    const std::string whole = npz("images.npy", bytes("|u1", "4,", "abcd"), ZIP_CM_STORE);
    for (std::size_t length = 0; length < whole.size(); ++length) {
        CHECK(!error_of([&] { parse_npz("a.npz", whole.substr(0, length)); }).empty());
    }
    std::string changed = whole;
    changed[changed.find("abcd")] = 'x';
    CHECK(contains(error_of([&] { parse_npz("a.npz", changed); }), "CRC"));
}
