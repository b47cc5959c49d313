#include "engine_file.hpp"

#include <nlohmann/json.hpp>

#include "errors.hpp"
#include "files.hpp"

namespace sal {

EngineFile read_engine(const std::filesystem::path& path) {
    const std::filesystem::path record_path = std::filesystem::path(path).replace_extension(".json");
    EngineFile engine{path.filename(), "", read_file(path)};
    try {
        const nlohmann::json record = nlohmann::json::parse(read_file(record_path));
        engine.precision = record.at("key").at("precision").get<std::string>();
        const std::string stated = record.at("sha256").get<std::string>();
        const std::string found = sha256_hex(engine.plan);
        if (found != stated) {
            throw Error(path.string() + " was altered: its sha256 is " + found.substr(0, 12) + "..., " +
                        record_path.filename().string() + " says " + stated.substr(0, 12) +
                        "...; engines are executable code, so find out why, then build it again");
        }
    } catch (const nlohmann::json::exception& error) {
        throw Error(record_path.string() + " is not complete (" + error.what() + "); build the engine again");
    }
    return engine;
}

}  // namespace sal
