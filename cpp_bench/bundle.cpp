#include "bundle.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "errors.hpp"
#include "files.hpp"

namespace sal {
namespace {

constexpr int kFormatVersion = 1;
constexpr const char* kManifest = "manifest.json";
constexpr const char* kManifestHash = "manifest.json.sha256";

[[noreturn]] void fail(const std::filesystem::path& bundle, const std::string& what) {
    throw Error("bundle " + bundle.string() + ": " + what);
}

std::string read_part(const std::filesystem::path& bundle, const std::string& file) {
    try {
        return read_file(bundle / file);
    } catch (const Error& error) {
        throw Error("bundle " + std::string(error.what()) + "; copy the bundle whole");
    }
}

std::string read_checked(const std::filesystem::path& bundle, const std::string& file, const std::string& sha256) {
    std::string content = read_part(bundle, file);
    const std::string found = sha256_hex(content);
    if (found != sha256) {
        fail(bundle, file + " has sha256 " + found.substr(0, 12) + "..., the manifest says " + sha256.substr(0, 12) +
                         "...; copy the bundle whole, or export it again");
    }
    return content;
}

void check_version(const std::filesystem::path& path, const nlohmann::json& manifest) {
    const nlohmann::json& version = manifest.at("format_version");
    if (version != kFormatVersion) {
        fail(path, "format version " + version.dump() + ", this sal_bench reads " + std::to_string(kFormatVersion) +
                       (version > kFormatVersion ? "; update sal_bench" : "; export the bundle again"));
    }
}

Bundle bundle_from_manifest(const std::filesystem::path& path, const nlohmann::json& manifest) {
    Bundle bundle;
    bundle.path = path;
    bundle.name = manifest.at("name").get<std::string>();
    bundle.fingerprint = manifest.at("fingerprint").get<std::string>();
    bundle.embedding_dim = manifest.at("embedding_dim").get<std::size_t>();
    bundle.image_height = manifest.at("image").at("height").get<std::size_t>();
    bundle.image_width = manifest.at("image").at("width").get<std::size_t>();
    for (const auto& [file, entry] : manifest.at("files").items()) {
        if (file.empty() || file == ".." || file.find('/') != std::string::npos) {
            fail(path, "'" + file + "' is not a plain file name; export the bundle again");
        }
        bundle.sha256[file] = entry.at("sha256").get<std::string>();
    }
    for (const nlohmann::json& entry : manifest.at("artefacts")) {
        const nlohmann::json devices = entry.value("devices", nlohmann::json::array({"cpu"}));
        if (std::find(devices.begin(), devices.end(), "cpu") == devices.end()) {
            continue;  // such as int8 for TensorRT, from which engines are built
        }
        bundle.artefacts.push_back({entry.at("role").get<std::string>(), entry.at("file").get<std::string>(),
                                    entry.at("precision").get<std::string>()});
    }
    return bundle;
}

Artefact find_artefact(const Bundle& bundle, const std::string& role, const std::string& precision) {
    std::string there;
    for (const Artefact& artefact : bundle.artefacts) {
        if (artefact.role == role) {
            if (artefact.precision == precision) {
                return artefact;
            }
            there += (there.empty() ? "" : ", ") + artefact.precision;
        }
    }
    fail(bundle.path, "no " + role + " in " + precision + "; there is " + (there.empty() ? "none" : there));
}

}  // namespace

std::string Bundle::read(const std::string& file) const {
    const auto listed = sha256.find(file);
    if (listed == sha256.end()) {
        fail(path, file + " is not listed in " + kManifest + "; export the bundle again");
    }
    return read_checked(path, file, listed->second);
}

Bundle open_bundle(const std::filesystem::path& path) {
    if (!std::filesystem::is_directory(path)) {
        fail(path, std::filesystem::exists(path) ? "not a directory; unpack the .zip and name its folder"
                                                 : "no such directory; name the folder that `sal export` wrote");
    }
    const std::string text = read_part(path, kManifest);
    if (read_part(path, kManifestHash) != sha256_hex(text) + "  " + kManifest + "\n") {
        fail(path, std::string(kManifest) + " does not match " + kManifestHash +
                       "; copy the bundle whole, or export it again");
    }
    try {
        const nlohmann::json manifest = nlohmann::json::parse(text);
        check_version(path, manifest);
        Bundle bundle = bundle_from_manifest(path, manifest);
        for (const auto& [file, sha256] : bundle.sha256) {
            read_checked(path, file, sha256);
        }
        return bundle;
    } catch (const nlohmann::json::exception& error) {
        fail(path, std::string(kManifest) + " is not complete (" + error.what() + "); export the bundle again");
    }
}

std::vector<Artefact> chosen_artefacts(const Bundle& bundle, const std::vector<std::string>& precisions) {
    std::vector<Artefact> chosen;
    for (const std::string& precision : precisions) {
        chosen.push_back(find_artefact(bundle, kImageRole, precision));
    }
    for (const Artefact& artefact : bundle.artefacts) {
        if (precisions.empty() && artefact.role == kImageRole) {
            chosen.push_back(artefact);
        }
    }
    if (chosen.empty()) {
        fail(bundle.path, std::string("no ") + kImageRole + "; export the bundle again");
    }
    chosen.push_back(find_artefact(bundle, kAttributeRole, "fp32"));
    return chosen;
}

}  // namespace sal
