// sal_bench: see options.cpp for what it does, README.md for how to build it.
#include <algorithm>
#include <exception>
#include <filesystem>
#include <iostream>
#include <memory>
#include <new>

#include "backend_onnxruntime.hpp"
#include "backend_tensorrt.hpp"
#include "bench.hpp"
#include "errors.hpp"
#include "files.hpp"
#include "golden.hpp"
#include "npz.hpp"
#include "options.hpp"
#include "report.hpp"

namespace sal {
namespace {

constexpr std::size_t kQueryCounts[] = {1, 64};

/// Found out before anything is timed.
void require_folder_of(const std::filesystem::path& file) {
    const std::filesystem::path folder = file.parent_path();
    if (!folder.empty() && !std::filesystem::is_directory(folder)) {
        throw Error("--json " + file.string() + ": there is no folder " + folder.string() + "; make it first");
    }
}

/// The chosen encoders for each number of threads, and the engine if one is named.
std::vector<OpenEncoder> open_encoders(const Options& options, const Bundle& bundle, const OnnxRuntime& onnxruntime,
                                       const std::map<std::string, GoldenVectors>& golden) {
    std::vector<OpenEncoder> encoders;
    for (const Artefact& artefact : chosen_artefacts(bundle, options.precisions)) {
        const std::string model = bundle.read(artefact.file);
        const EncoderSpec& spec = golden.at(artefact.role).spec;
        for (const std::size_t threads : options.threads) {
            encoders.push_back(
                {artefact, spec, threads, onnxruntime.open(artefact.file, model, spec, static_cast<int>(threads))});
        }
    }
    if (!options.engine.empty()) {
        const EncoderSpec& spec = golden.at(kImageRole).spec;
        const EngineFile engine = read_engine(options.engine);
        encoders.push_back({{kImageRole, engine.name, engine.precision}, spec, 1, open_tensorrt(engine, spec)});
    }
    return encoders;
}

/// Golden vectors through every encoder; throws where one does not agree.
std::map<std::string, Agreement> check_golden(const std::vector<OpenEncoder>& encoders,
                                              const std::map<std::string, GoldenVectors>& golden,
                                              const std::filesystem::path& dump_folder) {
    std::map<std::string, Agreement> worst;
    for (const OpenEncoder& encoder : encoders) {
        const GoldenVectors& vectors = golden.at(encoder.artefact.role);
        const auto dim = static_cast<std::size_t>(vectors.spec.embedding_dim);
        const std::vector<float> found = encode_golden(*encoder.backend, vectors);
        if (!dump_folder.empty()) {
            std::filesystem::create_directories(dump_folder);
            write_file(dump_folder / (encoder.artefact.file + ".npy"), npy_from_floats({vectors.rows, dim}, found));
        }
        const Agreement now = agreement(found, vectors.embeddings, dim);
        require_agreement(encoder.artefact, now);
        const auto [before, is_new] = worst.try_emplace(encoder.artefact.file, now);
        if (!is_new) {
            before->second = {std::max(before->second.max_abs, now.max_abs),
                              std::min(before->second.min_cosine, now.min_cosine)};
        }
    }
    return worst;
}

void time_encoders(const Options& options, const std::vector<OpenEncoder>& encoders, Report& report,
                   std::ostream& out) {
    for (const OpenEncoder& encoder : encoders) {
        for (const std::size_t streams : options.streams) {
            for (const std::size_t batch : options.batches) {
                report.encoder_rows.push_back(time_encoder(encoder, batch, streams, options.timing));
                print_encoder_row(out, report.encoder_rows.back(), batch == options.batches.front());
            }
        }
    }
}

void time_searches(const Options& options, std::size_t dim, Report& report, std::ostream& out) {
    const std::vector<float> gallery = random_unit_vectors(options.search_items, dim, 1);
    for (const std::size_t threads : options.threads) {
        for (const std::size_t queries : kQueryCounts) {
            report.search_rows.push_back(time_search(gallery, dim, queries, threads, options.timing));
            print_search_row(out, report.search_rows.back(), report.search_rows.size() == 1);
        }
    }
}

void run(const Options& options, const std::string& command) {
    require_folder_of(options.json);
    const Bundle bundle = open_bundle(options.bundle);
    const std::map<std::string, GoldenVectors> golden = read_golden(bundle);
    const OnnxRuntime onnxruntime(find_onnxruntime(options.onnxruntime));
    const std::vector<OpenEncoder> encoders = open_encoders(options, bundle, onnxruntime, golden);

    Report report{command, now_utc(), this_machine(), {}, bundle.name, bundle.fingerprint, options.timing, {}, {}, {}};
    for (const OpenEncoder& encoder : encoders) {
        const std::string engine = encoder.backend->engine();
        report.versions[engine.substr(0, engine.find(' '))] = engine.substr(engine.find(' ') + 1);
    }
    report.versions["g++"] = __VERSION__;
    report.golden = check_golden(encoders, golden, options.dump_golden);

    std::ostream nowhere(nullptr);
    std::ostream& out = options.json == "-" ? nowhere : std::cout;
    print_head(out, report);
    time_encoders(options, encoders, report, out);
    if (options.search_items > 0) {
        time_searches(options, bundle.embedding_dim, report, out);
    }
    if (options.json == "-") {
        std::cout << json_document(report);
    } else if (!options.json.empty()) {
        write_file(options.json, json_document(report));
        out << "\nwrote " << options.json << "\n";
    }
    std::cout.flush();
    if (!std::cout) {
        throw Error("stdout cannot be written; is the disk full?");
    }
}

int fail(const std::string& message, int code) {
    std::cerr << "sal_bench: error: " << message << std::endl;
    return code;
}

}  // namespace
}  // namespace sal

int main(int argc, char** argv) {
    try {
        const sal::Options options = sal::parse_options(argc, argv);
        if (options.help) {
            std::cout << sal::help_text();
            return 0;
        }
        sal::run(options, sal::command_line(argc, argv));
        return 0;
    } catch (const sal::UsageError& error) {
        return sal::fail(error.what(), 2);
    } catch (const std::bad_alloc&) {
        return sal::fail("out of memory; ask for a smaller --batch or --search", 1);
    } catch (const std::exception& error) {
        return sal::fail(error.what(), 1);
    }
}
