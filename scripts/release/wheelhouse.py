"""Collect everything that a box without a network installs sal from, in one folder.

python -m scripts.release.wheelhouse wheelhouse/ --extras cpu,serve --machine aarch64

On the box, with the same Python version:

python3 -m venv sal && sal/bin/pip install --requirement wheelhouse/requirements.txt
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.release.bill import Package, bill_of_materials, needed_by, read_wheel
from scripts.release.distributions import REPOSITORY, ReleaseError, build, write_checksums

NEWEST_GLIBC = 28
"""Minor version of the newest glibc 2 that wheels for another processor may ask for: Debian 10, RHEL 8 and later."""
OLDEST_GLIBC = 17
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def collect(out: Path, extras: list[str], machine: str, python: str) -> list[Package]:
    """Fill a folder with the wheel of the commit and of all that it needs, in the versions of constraints.txt.

    Also written: `requirements.txt` with the hash of each, `SHA256SUMS`, `sbom.cdx.json` (CycloneDX), `licences.txt`.

    Args:
        out: the folder; it must be empty or missing.
        extras: the extras of sal.
        machine: processor of the box, as `uname -m` says it.
        python: its Python version, as in "3.11".

    Returns:
        The packages, sal first.

    Raises:
        ReleaseError: the folder holds something, or the wheel cannot be built from this checkout.
        subprocess.CalledProcessError: pip found no wheel for such a box; it has said which.
    """
    if out.exists() and any(out.iterdir()):
        raise ReleaseError(f"{out} holds files; give an empty folder, so that nothing else is taken along")
    wheel, sdist = build(REPOSITORY, out)
    sdist.unlink()
    download([f"{wheel}[{','.join(extras)}]"], out, machine, python)
    wheels = {path: read_wheel(path) for path in sorted(out.glob("*.whl"))}
    packages = {package.name: package for package in wheels.values()}
    ours = packages.pop(wheels[wheel].name)
    packages = {ours.name: ours, **packages}
    needs = needed_by(ours, extras, packages, machine)
    bill = bill_of_materials(ours, packages, needs)
    (out / "sbom.cdx.json").write_text(json.dumps(bill, indent=2) + "\n", encoding="utf-8")
    (out / "requirements.txt").write_text(_requirements(packages, ours, extras), encoding="utf-8")
    (out / "licences.txt").write_text(
        "".join(f"{one.name} {one.version}: {one.licence or 'states none'}\n" for one in packages.values()),
        encoding="utf-8",
    )
    write_checksums(out, [path for path in out.iterdir() if path.name != "SHA256SUMS"])
    return list(packages.values())


def download(requirements: Sequence[str], out: Path, machine: str, python: str) -> None:
    """Let pip choose and download the wheels of requirements and of what they need; arguments as for `collect`.

    Raises:
        subprocess.CalledProcessError: pip found no wheel for such a box; it has said which.
    """
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--dest", str(out)]
    command += ["--constraint", str(REPOSITORY / "constraints.txt"), "--only-binary=:all:"]
    subprocess.run([*command, *_options_for(machine, python), *requirements], check=True)


def _options_for(machine: str, python: str) -> list[str]:
    """What tells pip which wheels a box of another kind takes; nothing for one like this machine."""
    if (machine, python) == (platform.machine(), THIS_PYTHON):
        return []
    platforms = [f"manylinux_2_{glibc}_{machine}" for glibc in range(NEWEST_GLIBC, OLDEST_GLIBC - 1, -1)]
    tags = [*platforms, f"manylinux2014_{machine}"]
    return ["--implementation", "cp", "--python-version", python, *(f"--platform={tag}" for tag in tags)]


def _requirements(packages: dict[str, Package], ours: Package, extras: list[str]) -> str:
    """Lines for pip: no index, the wheels beside the file, and each package with its one version and its hash."""
    lines = ["# pip install --requirement THIS_FILE", "--no-index", "--find-links ."]
    for package in packages.values():
        chosen = f"[{','.join(extras)}]" if package == ours else ""
        lines.append(f"{package.name}{chosen}=={package.version} --hash=sha256:{package.sha256}")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Collect; 1 with one line if that cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m scripts.release.wheelhouse", description=__doc__)
    parser.add_argument("out", type=Path, help="an empty folder, or a name for one")
    parser.add_argument("--extras", default="cpu", help="extras of sal, as in cpu,serve (default: cpu)")
    parser.add_argument("--machine", default=platform.machine(), help="processor of the box: x86_64 or aarch64")
    parser.add_argument("--python", default=THIS_PYTHON, help="Python version of the box, as in 3.12")
    given = parser.parse_args()
    extras = re.split(r"[, ]+", given.extras)
    try:
        packages = collect(given.out, extras, given.machine, given.python)
    except (ReleaseError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{given.out}: {len(packages)} wheels for {given.machine} with Python {given.python}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
