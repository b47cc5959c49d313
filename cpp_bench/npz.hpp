// numpy's .npy and uncompressed .npz, as far as bundles use them: uint8 and float32 in C order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace sal {

/// An array in C order.
struct NpyArray {
    std::vector<std::size_t> shape;
    std::variant<std::vector<std::uint8_t>, std::vector<float>> values;
};

/// Parse a .npy (format of numpy.lib.format, versions 1 to 3).
///
/// Throws Error for other dtypes, Fortran order, or a length that does not fit the shape; `name` is named in it.
NpyArray parse_npy(const std::string& name, std::string_view content);

/// A .npy (version 1.0) of float32.
std::string npy_from_floats(const std::vector<std::size_t>& shape, const std::vector<float>& values);

/// The arrays of an .npz as numpy.savez writes it, by name without `.npy`.
///
/// Throws Error for a damaged archive, compressed members (numpy.savez_compressed) and what parse_npy refuses.
std::map<std::string, NpyArray> parse_npz(const std::string& name, std::string_view content);

}  // namespace sal
