// The result: a table for people, and the JSON document that `sal bench engine` writes too.
#pragma once

#include <cstddef>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "bundle.hpp"
#include "golden.hpp"
#include "machine.hpp"
#include "timing.hpp"

namespace sal {

/// One encoder at one batch size, number of threads and number of streams.
struct EncoderRow {
    std::string artefact;
    std::string precision;
    std::string device;
    std::string engine;
    std::size_t batch;
    std::size_t threads;
    std::size_t streams;
    Timing timing;
};

/// Exact search of the `k` best for `queries` at once.
struct SearchRow {
    std::size_t items;
    std::size_t dim;
    std::size_t queries;
    std::size_t k;
    std::size_t threads;
    Timing timing;
};

struct Report {
    std::string command;
    std::string created;
    Machine machine;
    std::map<std::string, std::string> versions;
    std::string bundle_name;
    std::string bundle_fingerprint;
    TimingSettings settings;
    std::map<std::string, Agreement> golden;  ///< by file, the worst of its sessions
    std::vector<EncoderRow> encoder_rows;
    std::vector<SearchRow> search_rows;
};

/// The document, indented, with a newline at its end.
std::string json_document(const Report& report);

/// Bundle, machine, versions and golden vectors: what stands above the table. No line of the table is over 80 columns.
void print_head(std::ostream& out, const Report& report);

/// A row, below a heading where it is the first of its encoder, threads and streams.
void print_encoder_row(std::ostream& out, const EncoderRow& row, bool is_first);

void print_search_row(std::ostream& out, const SearchRow& row, bool is_first);

}  // namespace sal
