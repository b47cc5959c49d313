#include <doctest/doctest.h>

#include <thread>

#include "helpers.hpp"
#include "machine.hpp"
#include "options.hpp"

using sal::contains;
using sal::Options;
using Sizes = std::vector<std::size_t>;

namespace {

struct Arguments {
    std::vector<std::string> words;
    std::vector<char*> pointers;

    explicit Arguments(std::vector<std::string> given) : words(std::move(given)) {
        words.insert(words.begin(), "/opt/build/sal_bench");
        for (std::string& word : words) {
            pointers.push_back(word.data());
        }
        pointers.push_back(nullptr);
    }
    int count() const { return static_cast<int>(words.size()); }
};

Options parse(const std::vector<std::string>& given) {
    Arguments arguments(given);
    return sal::parse_options(arguments.count(), arguments.pointers.data());
}

/// The message of the UsageError; any other error is passed on.
std::string refused(const std::vector<std::string>& given) {
    try {
        parse(given);
    } catch (const sal::UsageError& error) {
        return error.what();
    }
    return "";
}

}  // namespace

TEST_CASE("defaults") {
    const Options options = parse({"--bundle", "b"});
    CHECK(options.bundle == "b");
    CHECK(options.batches == Sizes{1, 8, 16, 32});
    CHECK(options.threads == Sizes{std::max(1U, std::thread::hardware_concurrency())});
    CHECK(options.streams == Sizes{1});
    CHECK(options.precisions.empty());
    CHECK(options.search_items == 0);
    CHECK(options.timing.min_seconds == 3.0);
    CHECK(options.timing.warmup_ms == 200.0);
    CHECK(options.timing.min_iterations == 10);
}

TEST_CASE("everything given, in both spellings") {
    const Options options = parse({"--bundle=b", "--precision", "int8,fp32", "--batch=4", "--threads", "1,2",
                                   "--streams", "3", "--search", "1000", "--min-seconds", "0.05", "--json=-",
                                   "--dump-golden", "d", "--onnxruntime", "o", "--engine", "e"});
    CHECK(options.precisions == std::vector<std::string>{"int8", "fp32"});
    CHECK(options.batches == Sizes{4});
    CHECK(options.threads == Sizes{1, 2});
    CHECK(options.streams == Sizes{3});
    CHECK(options.search_items == 1000);
    CHECK(options.timing.min_seconds == 0.05);
    CHECK(options.json == "-");
    CHECK(options.dump_golden == "d");
    CHECK(options.onnxruntime == "o");
    CHECK(options.engine == "e");
    CHECK(parse({"--help"}).help);
}

TEST_CASE("wrong usage is named") {
    CHECK(contains(refused({}), "--bundle is missing"));
    CHECK(contains(refused({"--bundle", "b", "--fast"}), "option --fast"));
    CHECK(contains(refused({"--bundle", "b", "-x"}), "option -x"));
    CHECK(contains(refused({"--bundle"}), "--bundle takes a value"));
    CHECK(contains(refused({"--bundle="}), "--bundle is empty"));
    CHECK(contains(refused({"--bundle", "b", "more"}), "unexpected 'more'"));
    for (const char* wrong : {"0", "-1", "1.5", "x", "1,", ",1", "1,,2", "1 ", "99999999999999999999", "65537"}) {
        CHECK(contains(refused({"--bundle", "b", "--batch", wrong}), "expected a whole number from 1 to 65536"));
    }
    for (const char* wrong : {"0", "-1", "nan", "inf", "x", "1s"}) {
        CHECK(contains(refused({"--bundle", "b", "--min-seconds", wrong}), "expected seconds"));
    }
    CHECK(contains(refused({"--bundle", "b", "--precision", "fp64"}), "expected fp32, fp16, int8"));
}

TEST_CASE("every option is in the help text, in lines of 80 columns") {
    const std::string help = sal::help_text();
    for (const char* option : {"--bundle", "--precision", "--engine", "--search", "--batch", "--threads", "--streams",
                               "--min-seconds", "--json", "--dump-golden", "--onnxruntime", "--help"}) {
        CHECK(contains(help, std::string("\n  ") + option + " "));
    }
    std::size_t start = 0;
    for (std::size_t end = help.find('\n'); end != std::string::npos; end = help.find('\n', start)) {
        CHECK(end - start <= 80);
        start = end + 1;
    }
}

TEST_CASE("the command is recorded without folders of this machine") {
    Arguments arguments({"--bundle", "/home/me/bundles/edge/", "--json=/tmp/a b.json", "--dump-golden", "out/golden"});
    CHECK(sal::command_line(arguments.count(), arguments.pointers.data()) ==
          "sal_bench --bundle edge '--json=a b.json' --dump-golden out/golden");
}
