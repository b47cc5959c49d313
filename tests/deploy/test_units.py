"""The units of systemd: it accepts them, and counts little that they could do besides their work."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
CEILING = {"sal.service": 15, "sal-backup.service": 8}
"""Of systemd's exposure level in tenths, 0 (nothing) to 100 (everything); systemd 252 gives 12 and 5."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed: apt-get install systemd"
)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, for a machine where this Python is the program."""
    for file in DEPLOY.glob("sal*.*"):
        (tmp_path / file.name).write_text(file.read_text().replace("/opt/sal/bin/sal", sys.executable))
    return tmp_path


def analyze(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@needs_systemd
@pytest.mark.parametrize("unit", ["sal.service", "sal-backup.service", "sal-backup.timer"])
def test_systemd_understands_every_line(unit: str, units: Path) -> None:
    done = analyze("verify", "--man=no", f"./{unit}", folder=units)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("unit", CEILING)
def test_a_unit_can_do_little_else(unit: str, units: Path) -> None:
    done = analyze("security", "--offline=true", f"--threshold={CEILING[unit]}", f"./{unit}", folder=units)
    assert done.returncode == 0, done.stdout[-500:]


@needs_systemd
def test_the_ceiling_is_one(units: Path) -> None:
    weak = re.sub(r"^(Protect|Private)\w+=.*\n", "", (units / "sal.service").read_text(), flags=re.MULTILINE)
    (units / "weak.service").write_text(weak)
    ceiling = f"--threshold={CEILING['sal.service']}"
    assert analyze("security", "--offline=true", ceiling, "./weak.service", folder=units).returncode != 0


def test_the_program_runs_where_memory_is_never_both_writable_and_executable() -> None:
    """`MemoryDenyWriteExecute=yes`, as the kernel enforces it: encoding and OpenCV need no such memory."""
    program = (
        "import ctypes, mmap, sys\n"
        "if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): sys.exit(77)\n"
        "try:\n    mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)\n"
        "except PermissionError:\n    pass\n"
        "else:\n    sys.exit('it is not enforced')\n"
        "from sal_cli.app import main\n"
        "main(['doctor', '--device', 'cpu'])\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=DEPLOY.parent, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("the kernel lacks PR_SET_MDWE, which Linux has since 6.3")
    assert done.returncode == 0, done.stderr


def test_the_backup_of_the_unit_is_a_command() -> None:
    from tests.cli.test_help import check_parses

    for line in re.findall(
        r"^ExecStart=/opt/sal/bin/sal (gallery .*)$", (DEPLOY / "sal-backup.service").read_text(), re.M
    ):
        check_parses(shlex.split(line))
