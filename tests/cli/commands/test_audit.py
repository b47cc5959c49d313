"""`sal audit` and `sal token`: what people type, what they see, and the exit codes."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from sal_service.governance.audit import AuditLog, verify_log
from sal_service.governance.tokens import Tokens
from tests.command_line import check_one_error, run_sal

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log of four lines in the current folder."""
    monkeypatch.chdir(tmp_path)
    made = AuditLog(tmp_path / "audit.log")
    made.append("guard", "search", "lost child", {"query": "under-15,red", "hits": 3})
    made.append("guard", "view", None, {"uri": "crop:door/1.jpg"})
    made.append("boss", "audit.read")
    made.append("guard", "search", "=HYPERLINK(1)", {"query": "\x1b[2J"})
    return Path("audit.log")


def test_a_log_in_order(log: Path, capsys: Capsys) -> None:
    head = verify_log(log).head
    assert run_sal(capsys, "audit", "verify", log) == (0, f"ok: 4 lines, head {head}\n", "")
    assert run_sal(capsys, "audit", "verify", log, "--expect", head)[0] == 0
    code, out, _ = run_sal(capsys, "audit", "verify", log, "--json")
    found = {"ok": True, "lines": 4, "head": head, "cut": 0, "unfinished": False, "problem": None}
    assert (code, json.loads(out)) == (0, found)


def test_a_broken_log_is_one_line_and_exit_code_1(log: Path, capsys: Capsys) -> None:
    log.write_bytes(log.read_bytes().replace(b"crop:door/1.jpg", b"crop:door/2.jpg"))
    code, out, err = run_sal(capsys, "audit", "verify", log)
    assert (code, err, out.count("\n")) == (1, "", 1)
    assert out.startswith("broken: line 2: was changed")
    code, out, err = run_sal(capsys, "audit", "verify", log, "--json")
    assert (code, err, json.loads(out)["ok"]) == (1, "", False)


def test_a_cut_end_needs_the_head(log: Path, capsys: Capsys) -> None:
    head = verify_log(log).head
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    assert run_sal(capsys, "audit", "verify", log)[0] == 0
    code, out, _ = run_sal(capsys, "audit", "verify", log, "--expect", head)
    assert (code, out.startswith("broken: ends with line 3 without the expected head")) == (1, True)
    check_one_error(run_sal(capsys, "audit", "verify", log, "--expect", "abc"), 2, "hexadecimal digits (--expect)")


def test_a_log_that_a_kill_cut_says_so(log: Path, capsys: Capsys) -> None:
    with log.open("ab") as file:
        file.write(b'{"action":"se')
    assert "is incomplete" in run_sal(capsys, "audit", "verify", log)[2]
    AuditLog(log).append("guard", "view")
    code, out, err = run_sal(capsys, "audit", "verify", log)
    assert (code, out.startswith("ok: 6 lines"), "1 times a writer was killed" in err) == (0, True, True)


def test_a_key(log: Path, tmp_path: Path, capsys: Capsys) -> None:
    key, keyed = tmp_path / "key", tmp_path / "keyed.log"
    key.write_text("k" * 64 + "\n")
    key.chmod(0o600)
    AuditLog(keyed, b"k" * 64).append("guard", "view")
    assert run_sal(capsys, "audit", "verify", keyed, "--key", key)[0] == 0
    assert "a key, which was not given" in run_sal(capsys, "audit", "verify", keyed)[1]
    key.chmod(0o644)
    check_one_error(run_sal(capsys, "audit", "verify", keyed, "--key", key), 2, "others may open it", "chmod 600")
    key.chmod(0o600)
    key.write_text("short")
    check_one_error(run_sal(capsys, "audit", "verify", keyed, "--key", key), 2, "at least 32", "openssl rand")


def test_lines_are_shown_newest_first_and_cannot_steer_the_terminal(log: Path, capsys: Capsys) -> None:
    AuditLog(log).append("boss", "remove", "erasure", {"images": 7, "uris": [f"{n}.jpg" for n in range(7)]})
    code, out, err = run_sal(capsys, "audit", "show", log)
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    events = re.split(r"^(?=\d)", out, flags=re.MULTILINE)[1:]
    assert [event.split()[0] for event in events] == ["5", "4", "3", "2", "1"]
    assert events[0].splitlines()[1:] == [
        "  why   erasure",
        "  what  images 7, uris 0.jpg; 1.jpg; 2.jpg; 3.jpg; 4.jpg and 2 more",
    ]
    assert events[1].splitlines()[1:] == ["  why   =HYPERLINK(1)", r"  what  query \x1b[2J"]
    assert re.fullmatch(r"3  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+  boss  audit.read\n", events[2])
    assert events[4].endswith("  guard  search\n  why   lost child\n  what  hits 3, query under-15,red\n")


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (("--who", "boss"), [3]),
        (("--who", "boss", "--who", "guard", "--action", "view"), [2]),
        (("--action", "search"), [4, 1]),
        (("--limit", "1"), [4]),
        (("--since", "-1h"), [4, 3, 2, 1]),
        (("--until", "-1h"), []),
    ],
)
def test_filters(log: Path, options: tuple[str, ...], lines: list[int], capsys: Capsys) -> None:
    code, out, _ = run_sal(capsys, "audit", "show", log, *options, "--json")
    assert (code, [line["sequence"] for line in json.loads(out)["lines"]]) == (0, lines)
    if not lines:
        assert run_sal(capsys, "audit", "show", log, *options)[1] == "no lines\n"


def test_export(log: Path, capsys: Capsys) -> None:
    assert run_sal(capsys, "audit", "export", log, "--format", "jsonl") == (0, log.read_text(), "")
    code, out, _ = run_sal(capsys, "audit", "export", log)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (code, [row["sequence"] for row in rows]) == (0, ["1", "2", "3", "4"])
    assert json.loads(rows[0]["what"]) == {"query": "under-15,red", "hits": 3}
    assert rows[3]["why"] == "'=HYPERLINK(1)"  # a spreadsheet would compute it
    assert rows[0]["at"].endswith("Z")
    code, out, err = run_sal(capsys, "audit", "export", log, "--action", "view", "--out", "views.csv")
    assert (code, out, err) == (0, "", "wrote 1 lines to views.csv\n")
    assert len(Path("views.csv").read_text().splitlines()) == 2
    check_one_error(run_sal(capsys, "audit", "export", log, "--out", "no/x.csv"), 2, "does not exist")


def test_a_log_that_is_not_there(log: Path, capsys: Capsys) -> None:
    for command in ("verify", "show", "export"):
        check_one_error(run_sal(capsys, "audit", command, "other.log"), 2, "other.log", "No such file")


def test_a_token_is_printed_once(log: Path, capsys: Capsys) -> None:
    code, out, err = run_sal(capsys, "token", "add", "guard", "--role", "search", "--role", "ingest", "--days", 2)
    assert (code, len(out.splitlines())) == (0, 1)
    assert err.startswith("sal: give the token to guard")
    assert out.strip() not in err
    principal = Tokens.read(Path("tokens.toml")).check(out.strip(), 0)
    assert principal is not None
    assert principal.roles == {"search", "ingest"}
    code, listed, _ = run_sal(capsys, "token", "list")
    assert (code, listed.splitlines()[1].split()[:3]) == (0, ["guard", "ingest,", "search"])
    assert out.strip() not in listed
    assert run_sal(capsys, "token", "remove", "guard") == (0, "removed the token guard\n", "")
    assert run_sal(capsys, "token", "list") == (0, "no tokens\n", "")


def test_tokens_as_json(log: Path, capsys: Capsys) -> None:
    file = ("--file", "t.toml", "--json")
    code, out, _ = run_sal(capsys, "token", "add", "guard", "--role", "admin", *file)
    made = json.loads(out)
    assert (code, made["name"], made["roles"]) == (0, "guard", ["admin"])
    assert Tokens.read(Path("t.toml")).check(made["token"], 0) is not None
    (listed,) = json.loads(run_sal(capsys, "token", "list", *file)[1])["tokens"]
    assert listed == {"name": "guard", "roles": ["admin"], "expires_at": int(made["expires_at"]), "expired": False}
    assert json.loads(run_sal(capsys, "token", "remove", "guard", *file)[1]) == {"removed": "guard"}


def test_errors_of_tokens(log: Path, capsys: Capsys) -> None:
    check_one_error(run_sal(capsys, "token", "add", "guard", "--role", "sea"), 2, "--role sea", "search, ingest, admin")
    check_one_error(run_sal(capsys, "token", "list"), 2, "tokens.toml", "No such file")
    run_sal(capsys, "token", "add", "guard", "--role", "search")
    check_one_error(run_sal(capsys, "token", "add", "guard", "--role", "search"), 2, "there is a token guard")
    check_one_error(run_sal(capsys, "token", "remove", "gard"), 2, "did you mean guard?")
    Path("tokens.toml").chmod(0o640)
    check_one_error(run_sal(capsys, "token", "list"), 2, "others may open it")
