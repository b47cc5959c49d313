"""Build the source distribution and the wheel of the commit that is checked out, the same bytes wherever it is done.

python -m scripts.release.distributions dist/

Times are those of the commit, owners and modes are fixed, and the tools are those that constraints.txt pins. The wheel
is built from the source distribution.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
VERSION_VARIABLE = "SETUPTOOLS_SCM_PRETEND_VERSION_FOR_SAL_PERSON_SEARCH"
PLACEHOLDER = "example.org"
"""The host in the project's addresses until it has real ones; RFC 2606 keeps it from belonging to anybody."""


class ReleaseError(Exception):
    """A release cannot be made of this; the text says why."""


def build(repository: Path, out: Path) -> list[Path]:
    """Build the source distribution and the wheel of the commit that a clone has checked out.

    Args:
        repository: the top of the clone; nothing in it may differ from the commit.
        out: folder for the two files and their `SHA256SUMS`; made if it is missing.

    Returns:
        The wheel and the source distribution.

    Raises:
        ReleaseError: files differ from the commit, or a tagged commit names no real address of the project.
        subprocess.CalledProcessError: git or the build failed.
    """
    if changed := _git(repository, "status", "--porcelain", "--untracked-files=no"):
        raise ReleaseError(f"these differ from the commit; commit them first:\n{changed}")
    version = version_of(repository)
    _refuse_placeholders(repository, version)
    epoch = int(_git(repository, "log", "-1", "--format=%ct"))
    environment = {**os.environ, VERSION_VARIABLE: version, "SOURCE_DATE_EPOCH": str(epoch)}
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        source, built, unpacked = (Path(folder) / name for name in ("source", "built", "unpacked"))
        source.mkdir()
        packed = subprocess.run(["git", "archive", "HEAD"], cwd=repository, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(source, filter="data")
        _run_build("sdist", source, built, environment)
        (raw,) = built.glob("*.tar.gz")
        sdist = out / raw.name
        sdist.write_bytes(_same_bytes_everywhere(raw, epoch))
        with tarfile.open(sdist) as archive:
            archive.extractall(unpacked, filter="data")
        _run_build("wheel", unpacked / raw.name.removesuffix(".tar.gz"), built, environment)
        (raw,) = built.glob("*.whl")
        wheel = out / raw.name
        wheel.write_bytes(raw.read_bytes())
    write_checksums(out, [sdist, wheel])
    return [wheel, sdist]


def version_of(repository: Path) -> str:
    """The version that setuptools-scm reads from the tags of a clone."""
    command = [sys.executable, "-m", "setuptools_scm", "--root", str(repository)]
    command += ["--config", str(repository / "pyproject.toml")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def write_checksums(folder: Path, files: list[Path]) -> None:
    """Write `SHA256SUMS` for files of a folder, as `sha256sum --check` reads it."""
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(files)]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def _refuse_placeholders(repository: Path, version: str) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    unreal = [name for name, address in project["urls"].items() if PLACEHOLDER in address]
    if unreal and "+" not in version:
        raise ReleaseError(f"{version} is tagged, but [project.urls] in pyproject.toml has no real {', '.join(unreal)}")


def _git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=repository, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _run_build(kind: str, source: Path, out: Path, environment: dict[str, str]) -> None:
    """Build without a network, with the tools of this environment; files get the modes of umask 022."""
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, umask=0o022)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
    done.check_returncode()


def _same_bytes_everywhere(sdist: Path, epoch: int) -> bytes:
    """A .tar.gz with the same files in a fixed order, of nobody, with fixed modes, all from one second."""
    packed = io.BytesIO()
    # no name in the header, and the time of the commit
    with (
        tarfile.open(sdist) as old,
        gzip.GzipFile("", "wb", mtime=epoch, fileobj=packed) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            fixed = tarfile.TarInfo(member.name)
            fixed.type, fixed.size, fixed.mtime = member.type, member.size, epoch
            fixed.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            new.addfile(fixed, old.extractfile(member) if member.isfile() else None)
    return packed.getvalue()


def main() -> int:
    """Build; 1 with one line if that cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m scripts.release.distributions", description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the wheel, the source distribution and SHA256SUMS")
    try:
        for path in build(REPOSITORY, parser.parse_args().out):
            print(path)
    except ReleaseError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
