"""A Debian for 64-bit ARM in a folder, with a checkout of this commit and the wheels that a box would install.

Needs root, and Debian's packages mmdebstrap, arch-test and qemu-user-static. The kernel must start the emulator by
itself (binfmt_misc); where it does not, it is told to. A program runs there in its own mount and process namespace, so
that nothing of it is left when it ends.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from scripts.emulated.processors import ASK, cpuinfo, features_of
from scripts.release.wheelhouse import collect, download

REPOSITORY = Path(__file__).parents[2]
SUITE = "bookworm"
PYTHON = "3.11"
PACKAGES = ("python3", "python3-venv", "ca-certificates", "git", "libgl1", "libglib2.0-0", "make", "procps")
TOOLS = ("pytest", "hypothesis", "onnx", "pandas", "safetensors", "scipy", "jinja2")
"""What tests of the runtime and of the command import beside the package; PyTorch is left out, a box has none."""
EXTRAS = ("cpu", "arrow", "ann", "sign", "serve", "bench", "plot")
BINFMT = Path("/proc/sys/fs/binfmt_misc")
REGISTRATION = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")
CHECKOUT = "/root/sal"
VENV = "/root/venv"
INSTALLED = "/root/wheels/installed"
"""Exists once the wheels beside it are installed."""
NAMESPACE = """
mount -t proc proc "$ROOT/proc"; mount --bind "$CPUINFO" "$ROOT/proc/cpuinfo"
mount --rbind /dev "$ROOT/dev"; mount --rbind /sys "$ROOT/sys"; mount -t tmpfs tmpfs "$ROOT/tmp"
exec chroot "$ROOT" /usr/bin/env --ignore-environment --chdir "$FOLDER" "$@"
"""


class EmulationError(Exception):
    """Something failed on the emulated processor; the text holds its output."""


def make_root(root: Path, update: bool) -> None:
    """Make the Debian, check out the commit of this clone, and install; what is there already stays.

    Args:
        root: the folder.
        update: take the commit of this clone also where another is checked out; journals of the other are removed.

    Raises:
        subprocess.CalledProcessError: a step failed here; it has said why.
        EmulationError: a step failed there.
        ReleaseError: files of this clone differ from the commit.
    """
    _let_the_kernel_emulate()
    if not (root / "usr/bin/python3").exists():
        command = ["mmdebstrap", "--architectures=arm64", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
        subprocess.run([*command, SUITE, str(root), "http://deb.debian.org/debian"], check=True)
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n", encoding="ascii")  # an installer of Debian writes it
    if update or not Path(str(root) + CHECKOUT).exists():
        _check_out(root)
        shutil.rmtree(root / "root/wheels", ignore_errors=True)
    if not Path(str(root) + INSTALLED).exists():
        _install(root)


def run_in(root: Path, processor: str, arguments: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program in the checkout on an emulated processor.

    Args:
        root: from `make_root`.
        processor: one of `PROCESSORS`.
        arguments: the program and its arguments.
        variables: of its environment.

    Returns:
        How it ended; its output, standard error included, is captured.
    """
    content = cpuinfo(processor, features(root, processor), os.cpu_count() or 1)
    return _run(root, processor, content, arguments, variables)


def features(root: Path, processor: str) -> list[str]:
    """What an emulated processor can do, by the names that Linux has for it."""
    done = _run(root, processor, "", ["/usr/bin/python3", "-c", ASK], {})
    return features_of(done.stdout)


def versions_in(root: Path, processor: str) -> dict[str, str]:
    """Versions of Python and of the packages that decide results, as installed there."""
    program = "import json; from sal_runtime.doctor.machine import versions; print(json.dumps(versions()))"
    found: dict[str, str] = json.loads(run_in(root, processor, [f"{VENV}/bin/python", "-c", program]).stdout)
    return found


def commit_of(root: Path) -> str:
    """The commit that is checked out there."""
    command = ["git", "-C", str(root) + CHECKOUT, "rev-parse", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _run(
    root: Path, processor: str, content: str, arguments: list[str], variables: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".cpuinfo") as file:
        file.write(content)
        file.flush()
        inside = {
            "PATH": f"{VENV}/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root", "LANG": "C.UTF-8",
            "QEMU_CPU": processor, "OMP_NUM_THREADS": "1", **variables,
        }  # fmt: skip
        settings = [f"{name}={value}" for name, value in inside.items()]
        folder = CHECKOUT if (root / f".{CHECKOUT}").exists() else "/"
        outside = {"ROOT": str(root), "CPUINFO": file.name, "FOLDER": folder, "PATH": os.environ["PATH"]}
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", NAMESPACE, "sh"]
        return subprocess.run(
            [*command, *settings, *arguments], env=outside, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", check=False,
        )  # fmt: skip


def _let_the_kernel_emulate() -> None:
    if platform.machine() == "aarch64" or (BINFMT / "qemu-aarch64").exists():
        return
    if not (BINFMT / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)], check=True)
    if not (BINFMT / "qemu-aarch64").exists():
        (BINFMT / "register").write_text(REGISTRATION.read_text(encoding="ascii"), encoding="ascii")


def _check_out(root: Path) -> None:
    """The commit of this clone, in a clone of its own; files that are not committed do not come along."""
    checkout = str(root) + CHECKOUT
    for journal in (root / "root").glob("journal-*"):
        journal.unlink()
    head = subprocess.run(
        ["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    if not Path(checkout).exists():
        subprocess.run(["git", "clone", "--quiet", "--no-checkout", str(REPOSITORY), checkout], check=True)
    subprocess.run(["git", "-C", checkout, "fetch", "--quiet", str(REPOSITORY), head], check=True)
    subprocess.run(["git", "-C", checkout, "checkout", "--quiet", "--force", "--detach", head], check=True)


def _install(root: Path) -> None:
    """Install as a box without a network does: from the wheelhouse of this commit; then the tools of the tests."""
    wheels, tools = root / "root/wheels", root / "root/tools"
    collect(wheels, list(EXTRAS), "aarch64", PYTHON)
    if not tools.exists():
        download(TOOLS, tools, "aarch64", PYTHON)
    install = [f"{VENV}/bin/python", "-m", "pip", "install", "--quiet", "--no-index"]
    for step in (
        ["/usr/bin/python3", "-m", "venv", VENV],
        [*install, "--requirement", "/root/wheels/requirements.txt"],
        [*install, "--find-links", "/root/wheels", "--find-links", "/root/tools", *TOOLS],
        ["/usr/bin/touch", INSTALLED],
    ):
        done = run_in(root, "neoverse-n1", step)
        if done.returncode:
            raise EmulationError(f"{' '.join(step)} failed:\n{done.stdout}")
