#include <doctest/doctest.h>

#include "engine_file.hpp"
#include "helpers.hpp"

using sal::contains;
using sal::error_of;
using sal::read_engine;
using sal::write_file;

TEST_CASE("an engine is read only if it is the one its record was written for") {
    const sal::TemporaryFolder folder;
    const auto plan = folder.path() / "engine.plan";
    const auto record = folder.path() / "engine.json";
    const std::string stated = R"("sha256": ")" + sal::sha256_hex("code") + "\"";
    write_file(plan, "code");
    write_file(record, "{" + stated + R"(, "key": {"precision": "fp16"}})");
    const sal::EngineFile engine = read_engine(plan);
    CHECK(engine.name == "engine.plan");
    CHECK(engine.precision == "fp16");
    CHECK(engine.plan == "code");

    write_file(plan, "Code");
    CHECK(contains(error_of([&] { read_engine(plan); }), "engine.plan was altered: its sha256 is"));
    write_file(plan, "code");
    for (const std::string& text : {std::string("{"), "{" + stated + "}", "{" + stated + R"(, "key": {}})"}) {
        write_file(record, text);
        CHECK(contains(error_of([&] { read_engine(plan); }), "engine.json is not complete"));
    }
    std::filesystem::remove(record);
    CHECK(contains(error_of([&] { read_engine(plan); }), "engine.json: No such file"));
    std::filesystem::remove(plan);
    CHECK(contains(error_of([&] { read_engine(plan); }), "engine.plan: No such file"));
}
