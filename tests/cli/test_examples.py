"""The examples of the help run as printed, one page after the other, beside the demo gallery and the shipped bundle."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_help import COMMANDS, code_lines
from tests.command_line import run_sal

REPOSITORY = Path(__file__).parents[2]
FIRST = [("data", "synth")] + [("gallery", name) for name in ("add", "status", "verify", "export", "import", "backup")]
LAST = [("gallery", name) for name in ("remove", "purge", "restore", "reindex")]
ELSEWHERE = {
    "tritonserver|torchrun|ray-head|http://": "needs other machines or programs",
    r"sal (train|eval|export) |\bDATA\b": "needs a data set or a run; tests/test_end_to_end.py runs them",
    r"private\.pem|public\.pem": "needs keys; tests/cli/commands/test_bundle.py makes some",
    "sal bundle engine|gallery index|gallery encode": "needs a GPU or an extra",
    "sal bench": "takes minutes",
    "doctor --service": "needs a running service",
    "sal serve": "serves until it is stopped; tests/service/api/test_serve.py runs it",
    "crops/": "needs a folder of your own",
    "sal audit": "needs the log of a service; tests/cli/commands/test_audit.py runs them",
    "sal ingest|--by-track": "needs a video and a detector; tests/cli/commands/test_ingest.py runs them",
}
"""Examples that are not run here, and why."""


def examples() -> Iterator[str]:
    """The examples in the order in which they build on each other, each in one line."""
    for path in [*FIRST, *(path for path in COMMANDS if path not in FIRST + LAST), *LAST]:
        for line in "\n".join(code_lines(COMMANDS[path])).replace("\\\n", " ").splitlines():
            if not any(re.search(pattern, line) for pattern in ELSEWHERE):
                yield line


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what examples use of the repository."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(REPOSITORY / "demo" / "gallery", folder / "demo" / "gallery")
    (folder / "bundles").symlink_to(REPOSITORY / "bundles")
    return folder


@pytest.mark.parametrize("example", list(examples()))
def test_an_example_runs(
    example: str, clone: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    if "parquet" in example:
        pytest.importorskip("pyarrow")
    monkeypatch.chdir(clone)
    monkeypatch.delenv("SAL_BUNDLE", raising=False)
    code, out, err = run_sal(capsys, *shlex.split(example)[1:])
    assert (code, "error" in err) == (0, False), err
    assert out


def test_most_commands_have_an_example_that_is_run() -> None:
    run = {tuple(example.split()[1:3]) for example in examples()}
    assert len(run) > 12
