#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "helpers.hpp"
#include "report.hpp"

using sal::contains;
using sal::EncoderRow;
using sal::Report;
using sal::SearchRow;
using Json = nlohmann::json;

namespace {

EncoderRow encoder_row(std::vector<double> latencies_ms) {
    return {"image_encoder.onnx", "fp32", "cpu", "onnxruntime 1.32.0", 16, 2, 3, {std::move(latencies_ms), 0.5}};
}

Report whole_report() {
    Report report{"sal_bench",
                  "2026-11-24T15:00:00Z",
                  {"A CPU", 2, "", "Linux"},
                  {{"onnxruntime", "1.32.0"}},
                  "edge",
                  "21e85b8705c4f0cc",
                  {},
                  {{"image_encoder.onnx", {1e-7, 1.0}}},
                  {},
                  {}};
    report.encoder_rows.push_back(encoder_row({10.0, 20.0, 30.0, 40.0}));
    return report;
}

}  // namespace

TEST_CASE("the document has the agreed keys, and throughput counts rows of all runs by wall clock") {
    const Json document = Json::parse(json_document(whole_report()));
    CHECK(document["tool"] == "sal_bench (C++)");
    CHECK(document["machine"] == Json{{"cpu", "A CPU"}, {"cores", 2}, {"gpu", nullptr}, {"os", "Linux"}});
    CHECK(document["bundle"] == Json{{"name", "edge"}, {"fingerprint", "21e85b8705c4f0cc"}});
    CHECK(document["settings"] == Json{{"warmup_ms", 200.0}, {"min_seconds", 3.0}, {"min_iterations", 10}});
    CHECK(document["golden"]["image_encoder.onnx"] == Json{{"max_abs", 1e-7}, {"min_cosine", 1.0}});
    CHECK(!document.contains("search"));
    const Json row = document["rows"].at(0);
    CHECK(row["iterations"] == 4);
    CHECK(row["throughput"] == 4 * 16 / 0.5);
    CHECK(row["latency_ms"]["median"] == 20.0);
    CHECK(row["latency_ms"]["p99"] == 40.0);
    CHECK(row["coefficient_of_variation"].get<double>() == doctest::Approx(0.516398));
    CHECK(row["stable"] == false);
}

TEST_CASE("search has rows of its own, where it was asked for") {
    Report report = whole_report();
    report.search_rows.push_back({1000, 128, 64, 10, 2, {{1.0, 1.0}, 0.1}});
    const Json search = Json::parse(json_document(report))["search"];
    REQUIRE(search.size() == 1);
    CHECK(search[0]["items"] == 1000);
    CHECK(search[0]["queries"] == 64);
    CHECK(search[0]["latency_ms"]["max"] == 1.0);
}

TEST_CASE("a name in another encoding does not end the program") {
    Report report = whole_report();
    report.machine.cpu = "\xff\xfe";
    CHECK(Json::parse(json_document(report)).contains("machine"));
}

TEST_CASE("the table fits 80 columns whatever the numbers, and marks what varies") {
    std::ostringstream out;
    print_head(out, whole_report());
    print_encoder_row(out, encoder_row({0.01, 1234.5, 999999.0}), true);
    sal::print_search_row(out, {1000000000, 128, 64, 10, 1024, {{0.01, 1234.5, 999999.0}, 1.0}}, true);
    std::istringstream lines(out.str());
    for (std::string line; std::getline(lines, line);) {
        CAPTURE(line);
        CHECK(line.size() <= 80);
    }
    CHECK(contains(out.str(), "999999*\n"));
    std::ostringstream quiet;
    print_encoder_row(quiet, encoder_row({1.0, 1.0}), false);
    CHECK(!contains(quiet.str(), "*"));
}
