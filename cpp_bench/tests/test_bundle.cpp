#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "bundle.hpp"
#include "helpers.hpp"

using sal::Artefact;
using sal::Bundle;
using sal::contains;
using sal::error_of;
using sal::open_bundle;
using sal::sha256_hex;
using sal::write_file;
using Json = nlohmann::json;

namespace {

void write_manifest(const std::filesystem::path& folder, const std::string& text) {
    write_file(folder / "manifest.json", text);
    write_file(folder / "manifest.json.sha256", sha256_hex(text) + "  manifest.json\n");
}

Json whole_manifest() {
    return {{"format_version", 1},
            {"name", "tiny"},
            {"fingerprint", "f00d"},
            {"embedding_dim", 8},
            {"image", {{"height", 16}, {"width", 8}}},
            {"artefacts",
             {{{"role", "attribute_encoder"}, {"file", "a.onnx"}, {"precision", "fp32"}},
              {{"role", "image_encoder"}, {"file", "i.onnx"}, {"precision", "fp32"}},
              {{"role", "image_encoder"}, {"file", "i8.onnx"}, {"precision", "int8"}}}},
            {"files", {{"a.onnx", {{"sha256", sha256_hex("attributes")}, {"bytes", 10}}}}}};
}

struct BundleFolder : sal::TemporaryFolder {
    BundleFolder() {
        write_file(path() / "a.onnx", "attributes");
        write_manifest(path(), whole_manifest().dump());
    }
};

}  // namespace

TEST_CASE("sha256 of the vectors of FIPS 180") {
    CHECK(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_CASE("a whole bundle") {
    const BundleFolder folder;
    const Bundle bundle = open_bundle(folder.path());
    CHECK(bundle.name == "tiny");
    CHECK(bundle.fingerprint == "f00d");
    CHECK(bundle.embedding_dim == 8);
    CHECK(bundle.image_height == 16);
    CHECK(bundle.image_width == 8);
    CHECK(bundle.read("a.onnx") == "attributes");
    CHECK(contains(error_of([&] { bundle.read("b.onnx"); }), "b.onnx is not listed in manifest.json"));
}

TEST_CASE("encoders by precision: all without a choice, the attribute encoder always") {
    const BundleFolder folder;
    const Bundle bundle = open_bundle(folder.path());
    const auto files = [&](const std::vector<std::string>& precisions) {
        std::string names;
        for (const Artefact& artefact : chosen_artefacts(bundle, precisions)) {
            names += artefact.file + " ";
        }
        return names;
    };
    CHECK(files({}) == "i.onnx i8.onnx a.onnx ");
    CHECK(files({"int8"}) == "i8.onnx a.onnx ");
    CHECK(contains(error_of([&] { files({"fp16"}); }), "no image_encoder in fp16; there is fp32, int8"));
}

TEST_CASE("what is wrong with a bundle is named in one line") {
    const BundleFolder folder;
    const auto refused = [&](const std::string& why) {
        const std::string message = error_of([&] { open_bundle(folder.path()); });
        CAPTURE(message);
        CHECK(contains(message, "bundle " + folder.path().string()));
        CHECK(contains(message, why));
        CHECK(!contains(message, "\n"));
    };
    const auto refused_manifest = [&](const std::string& text, const std::string& why) {
        write_manifest(folder.path(), text);
        refused(why);
    };
    SUBCASE("a changed file") {
        write_file(folder.path() / "a.onnx", "Attributes");
        refused("a.onnx has sha256 " + sha256_hex("Attributes").substr(0, 12) + "..., the manifest says " +
                sha256_hex("attributes").substr(0, 12));
    }
    SUBCASE("a missing file") {
        std::filesystem::remove(folder.path() / "a.onnx");
        refused("/a.onnx: No such file or directory; copy the bundle whole");
    }
    SUBCASE("a changed manifest") {
        write_file(folder.path() / "manifest.json", whole_manifest().dump() + " ");
        refused("manifest.json does not match manifest.json.sha256");
    }
    SUBCASE("a missing hash") {
        std::filesystem::remove(folder.path() / "manifest.json.sha256");
        refused("manifest.json.sha256: No such file");
    }
    SUBCASE("another format version") {
        Json manifest = whole_manifest();
        manifest["format_version"] = 2;
        refused_manifest(manifest.dump(), "format version 2, this sal_bench reads 1; update sal_bench");
        manifest["format_version"] = 0;
        refused_manifest(manifest.dump(), "format version 0, this sal_bench reads 1; export the bundle again");
    }
    SUBCASE("files outside the bundle") {
        for (const char* name : {"../a.onnx", "/etc/passwd", "..", ""}) {
            Json manifest = whole_manifest();
            manifest["files"][name] = {{"sha256", "0"}};
            refused_manifest(manifest.dump(), "is not a plain file name");
        }
    }
    SUBCASE("keys that are missing or of another type, and what is no JSON") {
        const Json whole = whole_manifest();
        for (const auto& [key, value] : whole.items()) {
            Json manifest = whole;
            manifest.erase(key);
            refused_manifest(manifest.dump(), "manifest.json is not complete");
        }
        Json manifest = whole_manifest();
        manifest["embedding_dim"] = "many";
        refused_manifest(manifest.dump(), "manifest.json is not complete");
        refused_manifest("[]", "manifest.json is not complete");
        refused_manifest("{", "manifest.json is not complete");
    }
}

TEST_CASE("no bundle at all") {
    const BundleFolder folder;
    CHECK(contains(error_of([&] { open_bundle(folder.path() / "none"); }), "no such directory; name the folder"));
    CHECK(contains(error_of([&] { open_bundle(folder.path() / "a.onnx"); }), "not a directory; unpack the .zip"));
}

TEST_CASE("files are written whole, in place of older ones, and reasons are given") {
    const sal::TemporaryFolder folder;
    write_file(folder.path() / "a", "one");
    write_file(folder.path() / "a", "two");
    CHECK(sal::read_file(folder.path() / "a") == "two");
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
    std::filesystem::create_symlink(folder.path() / "a", folder.path() / "link");
    write_file(folder.path() / "link", "three");
    CHECK(std::filesystem::is_symlink(folder.path() / "link"));
    CHECK(sal::read_file(folder.path() / "a") == "three");
    CHECK(contains(error_of([&] { write_file(folder.path(), ""); }), "something else than a file"));
    CHECK(contains(error_of([&] { write_file("/dev/null", ""); }), "/dev/null: there is something else than a file"));
    CHECK(contains(error_of([&] { write_file(folder.path() / "none" / "a", ""); }), "No such file or directory"));
    CHECK(contains(error_of([&] { sal::read_file(folder.path() / "none"); }), "none: No such file or directory"));
    CHECK(contains(error_of([&] { sal::read_file(folder.path()); }), "Is a directory"));
}
