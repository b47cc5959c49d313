"""The numbers in the documents are those of the result files: check that, or write them.

    python -m docs.build.documented_numbers            # exit code 1 and a line for each number that differs
    python -m docs.build.documented_numbers --write    # put the numbers of the result files in

A figure is followed, without a space, by an HTML comment, which GitHub does not show; a table stands between two:

    finds 14.2<!-- eval_market1501_edge.json#mAP as percent.1 --> % of ...

    <!-- table partial_queries eval_peta.json -->
    <!-- end of table -->

A formula is values with ` * ` and ` / ` between them, from left to right. A value is a number or FILE#PATH: a file of
`benchmarks/results` (left out: that of the value before) and keys with `/` between them. In a list a key is what its
one entry has: `rows/queries=64&contender=sal/latency_ms/median`. Formats: `.1` is one decimal, `~2` two significant
digits, `percent.1` and `percent~2` a hundred times that. Tables are made by `docs/build/result_tables.py`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.speed.measurement import RESULTS
from docs.build.result_tables import make_table, read_result
from sal_runtime.errors import InputError

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "docs/*.md", "benchmarks/README.md", "bundles/*/*.md")
FIGURE = re.compile(r"(?P<shown>[+-]?\d[\d,]*(?:\.\d+)?)<!-- (?P<source>[^>\n]+) as (?P<format>\S+) -->")
TABLE = re.compile(
    r"^(?P<head><!-- table (?P<source>[^>]+) -->\n)(?P<body>(?:(?!<!-- table ).*\n)*?)(?P<tail><!-- end of table -->)$",
    re.MULTILINE,
)
COMMENT = re.compile(r"<!--.*?(?:-->|$)", re.MULTILINE)
FORMAT = re.compile(r"(?P<percent>percent)?(?:\.(?P<decimals>\d)|~(?P<digits>[1-9]))")


def documents() -> list[Path]:
    """All that may have numbers in them."""
    return sorted(path for pattern in DOCUMENTS for path in REPOSITORY.glob(pattern))


def look_up(document: Any, path: str, file_name: str) -> float:
    """The number at a path.

    Raises:
        InputError: there is nothing at it, or no number, or more than one entry of a list is meant.
    """
    node = document
    for key in path.split("/"):
        if isinstance(node, list):
            wanted = dict(pair.split("=", 1) for pair in key.split("&") if "=" in pair)
            found = [
                entry for entry in node if wanted and all(str(entry.get(name)) == text for name, text in wanted.items())
            ]
            if len(found) != 1:
                raise InputError(f"{file_name}#{path}: {len(found)} entries of the list are {key!r}, expected one")
            node = found[0]
        elif isinstance(node, dict) and key in node:
            node = node[key]
        else:
            raise InputError(f"{file_name}#{path}: there is no {key!r}")
    if isinstance(node, bool) or not isinstance(node, int | float):
        raise InputError(f"{file_name}#{path} is not a number but {str(node)[:40]!r}")
    return float(node)


def compute(formula: str, results: Path) -> float:
    """The value of a formula.

    Raises:
        InputError: it cannot be understood, or a value is not there.
    """
    file_name, value = "", 1.0
    words = ["*", *re.split(r" ([*/]) ", formula)]
    for operation, word in zip(words[::2], words[1::2], strict=True):
        name, found, path = word.partition("#")
        if found:
            file_name = name or file_name
            term = look_up(read_result(results / file_name), path, file_name)
        else:
            try:
                term = float(word)
            except ValueError:
                raise InputError(f"{word!r} is neither a number nor FILE#PATH") from None
        if operation == "/" and term == 0:
            raise InputError(f"{word} is zero, nothing can be divided by it")
        value = value * term if operation == "*" else value / term
    return value


def formatted(value: float, form: str) -> str:
    """A value as it stands in a text, with commas between thousands.

    Raises:
        InputError: the format is not known.
    """
    match = FORMAT.fullmatch(form)
    if match is None:
        raise InputError(f"format {form!r} is not known; known: .N (decimals), ~N (digits), percent.N, percent~N")
    if match["percent"]:
        value *= 100
    if match["decimals"]:
        return f"{value:,.{match['decimals']}f}"
    rounded = float(f"{value:.{int(match['digits']) - 1}e}")
    exponent = int(f"{rounded:e}".partition("e")[2])
    return f"{rounded:,.{max(0, int(match['digits']) - 1 - exponent)}f}"


def rewrite(text: str, results: Path, name: str) -> tuple[str, list[str]]:
    """A document with the numbers of the result files.

    Args:
        text: of the document.
        results: folder of the result files.
        name: of the document, for what is said.

    Returns:
        The text, and a line for each number or table that was another, could not be made or is not understood.
    """
    said: list[str] = []
    understood = [match.span() for pattern in (FIGURE, TABLE) for match in pattern.finditer(text)]
    for comment in COMMENT.finditer(text):
        if not any(start <= comment.start() and comment.end() <= end for start, end in understood):
            said.append(f"{name}:{_line(comment)}: comment not understood: {comment[0]}")

    def replaced(match: re.Match[str], make: Callable[[re.Match[str]], tuple[str, str, str]]) -> str:
        place = f"{name}:{_line(match)}"
        try:
            found, expected, whole = make(match)
        except InputError as error:
            said.append(f"{place}: {error}")
            return match[0]
        if found != expected:
            said.append(f"{place}: found {found!r}, expected {expected!r}, which is {match['source']}")
        return whole

    def figure(match: re.Match[str]) -> tuple[str, str, str]:
        expected = formatted(compute(match["source"], results), match["format"])
        return match["shown"], expected, expected + match[0].removeprefix(match["shown"])

    def table(match: re.Match[str]) -> tuple[str, str, str]:
        body = f"\n{make_table(match['source'], results)}\n\n"
        return *first_difference(match["body"], body), match["head"] + body + match["tail"]

    # figures first: they change no line numbers
    text = FIGURE.sub(lambda match: replaced(match, figure), text)
    return TABLE.sub(lambda match: replaced(match, table), text), said


def _line(match: re.Match[str]) -> int:
    return match.string.count("\n", 0, match.start()) + 1


def first_difference(found: str, expected: str) -> tuple[str, str]:
    """The first line in which two texts differ, of each; two empty ones if none does."""
    lines, others = found.splitlines(), expected.splitlines()
    longest = max(len(lines), len(others))
    for one, other in zip(lines + [""] * (longest - len(lines)), others + [""] * (longest - len(others)), strict=True):
        if one != other:
            return one, other
    return "", ""


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Check that the numbers in the documents are those of result files.")
    parser.add_argument("--write", action="store_true", help="put the numbers of the result files in")
    write = parser.parse_args().write
    failed = False
    for path in documents():
        name = str(path.relative_to(REPOSITORY))
        text = path.read_text(encoding="utf-8")
        new, said = rewrite(text, RESULTS, name)
        if write and new != text:
            from sal_train.checkpoint import write_text

            write_text(path, new)
            print(f"{name}: written", file=sys.stderr)
            said = rewrite(new, RESULTS, name)[1]
        for line in said:
            print(line, file=sys.stderr)
        failed |= bool(said)
    if failed and not write:
        print(
            "python -m docs.build.documented_numbers --write puts the numbers of the result files in", file=sys.stderr
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
