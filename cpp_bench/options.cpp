#include "options.hpp"

#include <getopt.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>
#include <string_view>
#include <thread>

#include "errors.hpp"

namespace sal {
namespace {

constexpr std::size_t kMost = 1'000'000'000;

constexpr const char* kHelp = R"(Latency and throughput of a sal bundle's encoders, and of exact search, in C++.

usage: sal_bench --bundle DIR [options]

  sal_bench --bundle bundles/edge
  sal_bench --bundle bundles/edge --batch 1,16 --threads 1,2 --json result.json
  sal_bench --bundle bundles/edge --search 1000000

First every encoder has to give the golden embeddings of the bundle; one that
does not ends the program before anything is timed. Then each is warmed up for
200 ms and timed for at least 3 s and 10 runs, from memory to memory.

what
  --bundle DIR          folder that `sal export` wrote
  --precision P,..      image encoders to time: fp32, fp16, int8   [all in it]
  --engine FILE         time a TensorRT engine of the image encoder too:
                        engine.plan of sal's engine store, engine.json beside it
  --search ITEMS        time exact search, too: the 10 best of so many random
                        vectors, for 1 query and for 64 at once
how
  --batch N,..          rows of one run                            [1,8,16,32]
  --threads N,..        of one run                                 [all cores]
  --streams N,..        runs beside each other, sharing a session  [1]
  --min-seconds S       to time each row of the table              [3]
output
  --json FILE           write a JSON document; - for stdout, without the table
  --dump-golden DIR     write the embeddings of the golden inputs, one .npy for
                        each encoder, before they are checked
other
  --onnxruntime FILE    libonnxruntime.so.*, version 1.20 or later
                        [$SAL_ONNXRUNTIME, else that of the active virtual
                        environment]
  --help                this text

Table: rows/s counts images (or attribute vectors) by wall clock, all streams
together; the rest is latency of one run, percentiles by nearest rank. A row
with * varies by more than 10 % (standard deviation to mean): run it again
on a quiet machine. Exit code: 0 done, 1 failed, 2 wrong usage.
)";

std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> parts;
    std::size_t start = 0;
    for (std::size_t comma = text.find(','); comma != std::string::npos; comma = text.find(',', start)) {
        parts.push_back(text.substr(start, comma - start));
        start = comma + 1;
    }
    parts.push_back(text.substr(start));
    return parts;
}

std::size_t whole_number(const std::string& option, const std::string& text, std::size_t most) {
    std::size_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > most) {
        throw UsageError("--" + option + " is '" + text + "', expected a whole number from 1 to " +
                         std::to_string(most));
    }
    return value;
}

std::vector<std::size_t> whole_numbers(const std::string& option, const std::string& text, std::size_t most) {
    std::vector<std::size_t> values;
    for (const std::string& part : split(text)) {
        values.push_back(whole_number(option, part, most));
    }
    return values;
}

double seconds(const std::string& option, const std::string& text) {
    double value = 0.0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !(value > 0.0 && value <= 3600.0)) {
        throw UsageError("--" + option + " is '" + text + "', expected seconds, more than 0 and up to 3600");
    }
    return value;
}

std::vector<std::string> known_precisions(const std::string& text) {
    std::vector<std::string> precisions = split(text);
    for (const std::string& precision : precisions) {
        if (precision != "fp32" && precision != "fp16" && precision != "int8") {
            throw UsageError("--precision is '" + text + "', expected fp32, fp16, int8, or some of them with commas");
        }
    }
    return precisions;
}

using Setter = std::function<void(const std::string&)>;

std::map<std::string, Setter> setters(Options& options) {
    return {
        {"bundle", [&](const std::string& text) { options.bundle = text; }},
        {"engine", [&](const std::string& text) { options.engine = text; }},
        {"onnxruntime", [&](const std::string& text) { options.onnxruntime = text; }},
        {"json", [&](const std::string& text) { options.json = text; }},
        {"dump-golden", [&](const std::string& text) { options.dump_golden = text; }},
        {"precision", [&](const std::string& text) { options.precisions = known_precisions(text); }},
        {"batch", [&](const std::string& text) { options.batches = whole_numbers("batch", text, 65'536); }},
        {"threads", [&](const std::string& text) { options.threads = whole_numbers("threads", text, 1'024); }},
        {"streams", [&](const std::string& text) { options.streams = whole_numbers("streams", text, 1'024); }},
        {"search", [&](const std::string& text) { options.search_items = whole_number("search", text, kMost); }},
        {"min-seconds", [&](const std::string& text) { options.timing.min_seconds = seconds("min-seconds", text); }},
    };
}

/// getopt's table for options that take a value, and --help.
std::vector<option> option_table(const std::map<std::string, Setter>& known) {
    std::vector<option> table;
    for (const auto& [name, set] : known) {
        table.push_back({name.c_str(), required_argument, nullptr, 'v'});
    }
    table.push_back({"help", no_argument, nullptr, 'h'});
    table.push_back({nullptr, 0, nullptr, 0});
    return table;
}

}  // namespace

Options parse_options(int argc, char** argv) {
    Options options;
    options.threads = {std::max(1U, std::thread::hardware_concurrency())};
    const std::map<std::string, Setter> known = setters(options);
    const std::vector<option> table = option_table(known);
    optind = 0;  // start afresh, as tests parse many command lines
    opterr = 0;
    int index = 0;
    for (int code = 0; (code = getopt_long(argc, argv, ":h", table.data(), &index)) != -1;) {
        if (code == 'h') {
            options.help = true;
            return options;
        }
        if (code == ':') {
            throw UsageError(std::string(argv[optind - 1]) + " takes a value; see sal_bench --help");
        }
        if (code != 'v') {
            const std::string_view last = argv[optind - 1];
            throw UsageError("unknown or ambiguous option " +
                             (last.substr(0, 2) == "--" ? std::string(last) : std::string{'-', char(optopt)}) +
                             "; see sal_bench --help");
        }
        if (std::string_view(optarg).empty()) {
            throw UsageError("--" + std::string(table[static_cast<std::size_t>(index)].name) + " is empty");
        }
        known.at(table[static_cast<std::size_t>(index)].name)(optarg);
    }
    if (optind < argc) {
        throw UsageError("unexpected '" + std::string(argv[optind]) + "'; every value follows an option");
    }
    if (options.bundle.empty()) {
        throw UsageError("--bundle is missing; name the folder that `sal export` wrote, such as bundles/edge");
    }
    return options;
}

std::string help_text() {
    return kHelp;
}

}  // namespace sal
