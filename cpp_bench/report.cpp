#include "report.hpp"

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "commit.hpp"
#include "statistics.hpp"

namespace sal {
namespace {

using Json = nlohmann::ordered_json;

template <typename... Values>
std::string formatted(const char* format, Values... values) {
    std::array<char, 256> text{};
    std::snprintf(text.data(), text.size(), format, values...);
    return text.data();
}

/// Four digits, in at most eight columns.
std::string number(double value) {
    const int decimals = value < 10.0 ? 3 : value < 100.0 ? 2 : value < 1000.0 ? 1 : 0;
    return formatted("%8.*f", decimals, value);
}

double throughput(const EncoderRow& row) {
    return static_cast<double>(row.batch * row.timing.latencies_ms.size()) / row.timing.seconds;
}

Json or_null(const std::string& text) {
    return text.empty() ? Json(nullptr) : Json(text);
}

Json latency_json(const Timing& timing) {
    const LatencySummary summary = latency_summary(timing.latencies_ms);
    return {{"min", summary.min}, {"mean", summary.mean}, {"median", summary.median}, {"p90", summary.p90},
            {"p95", summary.p95}, {"p99", summary.p99},   {"max", summary.max}};
}

Json row_json(const EncoderRow& row) {
    const double variation = coefficient_of_variation(row.timing.latencies_ms);
    return {{"artefact", row.artefact},
            {"precision", row.precision},
            {"device", row.device},
            {"engine", row.engine},
            {"batch", row.batch},
            {"threads", row.threads},
            {"streams", row.streams},
            {"iterations", row.timing.latencies_ms.size()},
            {"seconds", row.timing.seconds},
            {"throughput", throughput(row)},
            {"latency_ms", latency_json(row.timing)},
            {"coefficient_of_variation", variation},
            {"stable", variation <= kStableVariation}};
}

Json row_json(const SearchRow& row) {
    return {{"items", row.items},
            {"dim", row.dim},
            {"queries", row.queries},
            {"k", row.k},
            {"threads", row.threads},
            {"iterations", row.timing.latencies_ms.size()},
            {"seconds", row.timing.seconds},
            {"latency_ms", latency_json(row.timing)}};
}

std::string latency_columns(const Timing& timing) {
    const LatencySummary summary = latency_summary(timing.latencies_ms);
    const bool stable = coefficient_of_variation(timing.latencies_ms) <= kStableVariation;
    return number(summary.min) + number(summary.mean) + number(summary.median) + number(summary.p90) +
           number(summary.p95) + number(summary.p99) + number(summary.max) + (stable ? "" : "*");
}

constexpr const char* kLatencyHead = "     min    mean  median     p90     p95     p99     max";

}  // namespace

std::string json_document(const Report& report) {
    Json golden = Json::object();
    for (const auto& [file, agreement] : report.golden) {
        golden[file] = {{"max_abs", agreement.max_abs}, {"min_cosine", agreement.min_cosine}};
    }
    Json document{{"tool", "sal_bench (C++)"},
                  {"command", report.command},
                  {"commit", or_null(kCommit)},
                  {"created", report.created},
                  {"machine",
                   {{"cpu", report.machine.cpu},
                    {"cores", report.machine.cores},
                    {"gpu", or_null(report.machine.gpu)},
                    {"os", report.machine.os}}},
                  {"versions", report.versions},
                  {"bundle", {{"name", report.bundle_name}, {"fingerprint", report.bundle_fingerprint}}},
                  {"settings",
                   {{"warmup_ms", report.settings.warmup_ms},
                    {"min_seconds", report.settings.min_seconds},
                    {"min_iterations", report.settings.min_iterations}}},
                  {"golden", golden},
                  {"rows", Json::array()}};
    for (const EncoderRow& row : report.encoder_rows) {
        document["rows"].push_back(row_json(row));
    }
    for (const SearchRow& row : report.search_rows) {
        document["search"].push_back(row_json(row));
    }
    return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

void print_head(std::ostream& out, const Report& report) {
    out << "bundle " << report.bundle_name << " (" << report.bundle_fingerprint.substr(0, 12) << ")\n"
        << "on " << report.machine.cpu << ", " << report.machine.cores << " cores\n"
        << "golden vectors\n";
    for (const auto& [file, agreement] : report.golden) {
        out << formatted("  %-36s max abs %.1e, min cosine %.6f\n", file.c_str(), agreement.max_abs,
                         agreement.min_cosine);
    }
}

void print_encoder_row(std::ostream& out, const EncoderRow& row, bool is_first) {
    if (is_first) {
        out << "\n"
            << row.artefact << " in " << row.precision << ", " << row.engine << " on " << row.device << "\n"
            << "threads " << row.threads << ", streams " << row.streams << "; latency in ms\n"
            << "batch    rows/s " << kLatencyHead << "\n";
    }
    out << formatted("%5zu  ", row.batch) << number(throughput(row)) << " " << latency_columns(row.timing) << std::endl;
}

void print_search_row(std::ostream& out, const SearchRow& row, bool is_first) {
    if (is_first) {
        out << "\nexact search of " << row.items << " vectors of " << row.dim << ", best " << row.k
            << "; latency in ms\n"
            << "queries threads " << kLatencyHead << "\n";
    }
    out << formatted("%7zu %7zu ", row.queries, row.threads) << latency_columns(row.timing) << std::endl;
}

}  // namespace sal
