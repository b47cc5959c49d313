"""The audit log: every way to tamper with it is found, and nothing that was acknowledged is lost."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sal_runtime.errors import ConfigError, InputError
from sal_service.governance import audit as module
from sal_service.governance import audit_line
from sal_service.governance.audit import AuditError, AuditLog, read_lines, verify_log
from sal_service.governance.audit_line import CUT, START

REPOSITORY = Path(__file__).parents[3]
LINES = 6


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A log of six lines."""
    path = tmp_path_factory.mktemp("audit") / "audit.log"
    fill(path)
    return path.read_bytes()


def fill(path: Path, key: bytes | None = None, lines: int = LINES) -> list[str]:
    """Append lines, and give their hashes."""
    log = AuditLog(path, key)
    whats = [{"query": "male", "hits": 3}, {}, {"uris": ["a\n", "b\r", "\udce4", "ü"]}, {"x": [1.5, None, {"y": True}]}]
    try:
        return [log.append("guard", "search", "lost child", whats[n % len(whats)]).hash for n in range(lines)]
    finally:
        log.close()


def verify(content: bytes, expect: str | None = None) -> module.AuditReport:
    """What is found in a log with this content."""
    with tempfile.TemporaryDirectory() as folder:
        return verify_log(rewritten(Path(folder, "audit.log"), content), expect)


def rewritten(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_the_chain_is_what_the_documents_say(tmp_path: Path) -> None:
    """Computed here again, from the description alone."""
    hashes = fill(tmp_path / "audit.log")
    prev = "0" * 64
    for number, raw in enumerate((tmp_path / "audit.log").read_text().splitlines()):
        document = json.loads(raw)
        assert document["prev"] == prev
        assert document["sequence"] == number + 1
        prev = document.pop("hash")
        assert hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest() == prev
        assert prev == hashes[number]


def test_lines_come_back_newest_first(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    assert (log.head, log.sequence) == (START, 0)
    lines = [log.append("guard", "view", None, {"uri": f"{n}.jpg", "pair": (1, 2), 7: "seven"}) for n in range(40)]
    assert read_lines(log.path, limit=3) == lines[:-4:-1]
    assert read_lines(log.path, before=3) == lines[1::-1]
    assert read_lines(log.path, limit=1000) == lines[::-1]
    assert lines[0].what == {"uri": "0.jpg", "pair": [1, 2], "7": "seven"}
    assert (log.head, log.sequence) == (lines[-1].hash, 40)


@pytest.mark.parametrize("block", [1, 7, 300, 5000])
def test_reading_backwards_in_blocks(
    written: bytes, tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_line, "BLOCK", block)
    assert [line.sequence for line in read_lines(rewritten(tmp_path / "audit.log", written))] == [6, 5, 4, 3, 2, 1]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_byte_is_found(written: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(written) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != written[place]))
    report = verify(written[:place] + bytes([value]) + written[place + 1 :])
    assert report.problem is not None or place == len(written) - 1  # the last line break is the end, see below


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_bytes_that_are_inserted_or_removed_are_found(written: bytes, data: st.DataObject) -> None:
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(written) - 2)] * 2)))
    new = data.draw(st.binary(max_size=40))
    changed = written[:start] + new + written[stop:]
    if changed != written:
        head = json.loads(written.splitlines()[-1])["hash"]  # what is removed may be the end
        assert verify(changed, head).problem is not None


@settings(max_examples=200, deadline=None)
@given(st.permutations(range(LINES)), st.integers(1, LINES))
def test_lines_in_another_order_are_found(written: bytes, order: list[int], count: int) -> None:
    lines = written.splitlines(keepends=True)
    chosen = order[:count]
    report = verify(b"".join(lines[number] for number in chosen))
    assert (report.problem is None) == (chosen == list(range(count)))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_repeated_line_is_found(written: bytes, data: st.DataObject) -> None:
    lines = written.splitlines(keepends=True)
    place, copy = (data.draw(st.integers(0, LINES - 1)) for _ in range(2))
    assert verify(b"".join([*lines[:place], lines[copy], *lines[place:]])).problem is not None


def test_a_cut_end_is_found_by_the_head_that_was_noted(written: bytes) -> None:
    head = json.loads(written.splitlines()[-1])["hash"]
    earlier = json.loads(written.splitlines()[2])["hash"]
    assert verify(written, head).ok
    assert verify(written, earlier).ok  # a log may have grown since
    assert verify(b"", START).ok
    for size in range(len(written) - 1):
        assert "without the expected head" in str(verify(written[:size], head).problem)
        without = verify(written[:size])
        ends = written[:size].endswith((b"\n", b"}\n")) or written[size : size + 1] == b"\n" or size == 0
        assert (without.problem, without.unfinished) == (None, not ends)


def test_a_head_that_is_none_is_refused(written: bytes) -> None:
    for wrong in ("", "abc", START.replace("0", "g"), START + "0"):
        with pytest.raises(InputError, match="hexadecimal"):
            verify(written, wrong)


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (lambda lines: [lines[0].replace(b"lost", b"some"), *lines[1:]], "line 1: was changed"),
        (lambda lines: [*lines[:2], *lines[3:]], "line 3: has the number 4, expected 3"),
        (lambda lines: [*lines[:2], b"{}\n", *lines[2:]], "line 4: follows something that is no line"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "line 1: has the number 2, expected 1"),
        (lambda lines: [*lines, b"nothing\n"], "line 7: is no line of an audit log"),
        (lambda lines: [lines[0].replace(b'","', b'", "'), *lines[1:]], "line 2: has the number 2, expected 1"),
    ],
)
def test_what_is_said_of_each_kind(written: bytes, tamper: Callable[[list[bytes]], list[bytes]], words: str) -> None:
    problem = verify(b"".join(tamper(written.splitlines(keepends=True)))).problem
    assert problem is not None
    assert problem.startswith(words)


def test_a_forged_log_needs_the_key(tmp_path: Path) -> None:
    key = b"k" * 32
    fill(tmp_path / "keyed.log", key)
    fill(tmp_path / "forged.log")
    assert verify_log(tmp_path / "keyed.log", key=key).ok
    assert "a key, which was not given" in str(verify_log(tmp_path / "keyed.log").problem)
    for path, wrong in ((tmp_path / "forged.log", key), (tmp_path / "keyed.log", b"j" * 32)):
        assert str(verify_log(path, key=wrong).problem).startswith("line 1: was changed")
        with pytest.raises(AuditError, match="last line was changed, or was made with another key"):
            AuditLog(path, wrong)


def test_the_files_are_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    AuditLog(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="0640, so others may open it"):
        AuditLog(path)
    with pytest.raises(AuditError, match="cannot be opened"):
        AuditLog(tmp_path / "nowhere" / "audit.log")


def test_what_json_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    for what, error in (({"x": object()}, TypeError), ({"x": float("nan")}, ValueError)):
        with pytest.raises(error):
            log.append("guard", "search", None, what)
    assert log.path.read_bytes() == b""


def test_threads_that_wait_share_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(tmp_path / "audit.log")
    syncs, real = [], os.fsync
    monkeypatch.setattr(module.os, "fsync", lambda descriptor: syncs.append(descriptor) or real(descriptor))
    with ThreadPoolExecutor(8) as pool:
        with log._writing:  # as if somebody were writing
            jobs = [pool.submit(log.append, "guard", "search") for _ in range(8)]
            while len(log._pending) < 8:
                time.sleep(0.001)
        lines = [job.result() for job in jobs]
    assert len(syncs) == 1
    assert sorted(line.sequence for line in lines) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_200_lines_of_8_threads(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")

    def append(thread: int) -> list[str]:
        return [log.append(f"thread {thread}", "search", None, {"n": n}).hash for n in range(25)]

    with ThreadPoolExecutor(8) as pool:
        hashes = {value for found in pool.map(append, range(8)) for value in found}
    report = verify_log(log.path, log.head)
    assert (report.ok, report.lines) == (True, 200)
    lines = read_lines(log.path, limit=1000)[::-1]
    assert {line.hash for line in lines} == hashes
    for thread in range(8):
        assert [line.what["n"] for line in lines if line.who == f"thread {thread}"] == list(range(25))


APPEND = """
import sys, threading
from pathlib import Path
from sal_service.governance.audit import AuditLog
log = AuditLog(Path(sys.argv[1]))
def run(thread):
    for number in range(int(sys.argv[2])):
        line = log.append(f"{sys.argv[3]}-{thread}", "search", None, {"n": number, "text": "x" * 3000})
        sys.stdout.write(line.hash + "\\n")
        sys.stdout.flush()
threads = [threading.Thread(target=run, args=(thread,)) for thread in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


def appending(path: Path, count: int, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", APPEND, str(path), str(count), name]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def test_processes_never_interleave(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    children = [appending(path, 20, f"child {number}") for number in range(3)]
    mine = AuditLog(path)
    own = {mine.append("parent", "view").hash for _ in range(50)}
    theirs = {line for child in children for line in child.communicate()[0].split()}
    report = verify_log(path)
    assert (report.problem, report.lines, report.cut) == (None, 3 * 4 * 20 + 50, 0)
    assert {line.hash for line in read_lines(path, limit=1000)} == own | theirs
    assert mine.head == report.head


def test_a_killed_process_loses_no_line_that_it_acknowledged(tmp_path: Path) -> None:
    path, acknowledged = tmp_path / "audit.log", set()
    for number in range(6):
        child = appending(path, 10**6, f"round {number}")
        assert child.stdout is not None
        wanted = random.Random(number).randint(1, 40)
        acknowledged |= {child.stdout.readline().strip() for _ in range(wanted)}
        child.kill()
        acknowledged |= {line for line in child.stdout.read().split() if len(line) == 64}
        child.wait()
        AuditLog(path).append("parent", "view")
        report = verify_log(path)
        assert report.problem is None
        assert not report.unfinished
    assert acknowledged <= {line.hash for line in read_lines(path, limit=10**6)}
    assert len(acknowledged) > 50


@pytest.mark.parametrize("kept", [1, 5, 100, -2, -1])
def test_a_line_that_a_kill_cut_stays_and_is_reported(written: bytes, tmp_path: Path, kept: int) -> None:
    lines = written.splitlines(keepends=True)
    whole, part = b"".join(lines[:-1]), lines[-1][:kept]
    path = rewritten(tmp_path / "audit.log", whole + part)
    before = verify_log(path)
    log = AuditLog(path)
    assert log.append("guard", "view").sequence == 7
    report = verify_log(path, log.head)
    if part.endswith(b"}"):  # only the line break was missing
        assert (before.lines, report.lines, report.cut, report.problem) == (6, 7, 0, None)
    else:
        assert (before.lines, before.unfinished, report.lines, report.cut, report.problem) == (5, True, 7, 1, None)
        note = read_lines(path)[1]
        assert (note.who, note.action) == ("log", CUT)
        assert note.what == {"bytes": len(part) + 1, "sha256": hashlib.sha256(part + b"\n").hexdigest()}
        assert part + b"\n" in path.read_bytes()  # nothing was overwritten


def test_a_cut_in_the_report_of_a_cut(written: bytes, tmp_path: Path) -> None:
    lines = written.splitlines(keepends=True)
    path = rewritten(tmp_path / "audit.log", b"".join(lines[:-1]) + lines[-1][:50])
    AuditLog(path).append("guard", "view")
    content = path.read_bytes()
    for size in range(content.index(lines[-1][:50]) + 51, len(content)):
        log = AuditLog(rewritten(path, content[:size]))
        log.append("guard", "view")
        assert verify_log(path, log.head).problem is None
        log.close()


def test_what_was_cut_cannot_be_exchanged_later(written: bytes, tmp_path: Path) -> None:
    lines = written.splitlines(keepends=True)
    path = rewritten(tmp_path / "audit.log", b"".join(lines[:-1]) + lines[-1][:50])
    AuditLog(path).append("guard", "view")
    changed = path.read_bytes().replace(lines[-1][:50] + b"\n", lines[-1][:49] + b"?\n")
    assert "line 7: follows something" in str(verify(changed).problem)


def test_a_full_disk_is_an_error_and_the_log_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(tmp_path / "audit.log")
    log.append("guard", "search")
    real = os.write

    room = [30]

    def full(descriptor: int, data: bytes) -> int:
        if not room:
            raise OSError(28, "No space left on device")
        return real(descriptor, data[: room.pop()])

    monkeypatch.setattr(module.os, "write", full)
    with pytest.raises(AuditError, match="No space left"):
        log.append("guard", "search")
    monkeypatch.setattr(module.os, "write", real)
    log.append("guard", "view")
    report = verify_log(log.path, log.head)
    assert (report.problem, report.lines, report.cut) == (None, 3, 1)


def test_a_log_that_was_moved_is_not_written_any_more(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    log.append("guard", "search")
    log.path.rename(tmp_path / "old.log")
    with pytest.raises(AuditError, match="moved or replaced"):
        log.append("guard", "search")
    rewritten(log.path, b"")
    with pytest.raises(AuditError, match="moved or replaced"):
        log.append("guard", "search")


def test_a_forked_process_must_open_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(tmp_path / "audit.log")
    monkeypatch.setattr(module.os, "getpid", lambda: -1)
    with pytest.raises(AuditError, match="opened by the parent process"):
        log.append("guard", "search")


def test_a_changed_last_line_stops_the_log(written: bytes, tmp_path: Path) -> None:
    lines = written.splitlines(keepends=True)
    changed = b"".join(lines[:-1]) + lines[-1].replace(b"guard", b"nobod")
    with pytest.raises(AuditError, match="last line was changed"):
        AuditLog(rewritten(tmp_path / "audit.log", changed))


def test_a_closed_log_writes_nowhere(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    log.close()
    with (tmp_path / "other").open("w"), pytest.raises(AuditError, match="is closed"):
        log.append("guard", "search")
    assert (tmp_path / "other").read_bytes() == b""
