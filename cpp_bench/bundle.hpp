// The bundle that `sal export` writes (docs/bundle.md), checked before use.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace sal {

inline constexpr const char* kImageRole = "image_encoder";
inline constexpr const char* kAttributeRole = "attribute_encoder";

/// One exported encoder.
struct Artefact {
    std::string role;       ///< kImageRole or kAttributeRole
    std::string file;       ///< name inside the bundle
    std::string precision;  ///< fp32, fp16 or int8
};

/// An opened bundle; every file in it has been checked.
struct Bundle {
    std::filesystem::path path;
    std::string name;         ///< for people
    std::string fingerprint;  ///< identifies the embeddings it makes
    std::size_t embedding_dim = 0;
    std::size_t image_height = 0;
    std::size_t image_width = 0;
    std::vector<Artefact> artefacts;            ///< those that are meant for a CPU
    std::map<std::string, std::string> sha256;  ///< of each file, by name

    /// The content of one of the bundle's files, checked again.
    ///
    /// Throws Error if it is not listed in the manifest, missing, or altered.
    std::string read(const std::string& file) const;
};

/// Open and check a bundle directory.
///
/// Throws Error, naming the file, if it is missing, of an unknown format version, or a file in it is missing or
/// altered.
Bundle open_bundle(const std::filesystem::path& path);

/// The image encoders of the named precisions (all of them where none is named), then the attribute encoder.
///
/// Throws Error if there is none of a precision; says which there are.
std::vector<Artefact> chosen_artefacts(const Bundle& bundle, const std::vector<std::string>& precisions);

}  // namespace sal
