"""Make a folder that Python runs as `sal` out of a wheelhouse, for a box without pip and venv.

python -m scripts.release.application wheelhouse/ sal/

On the box, with the Python version that the wheelhouse is for: `python3 sal/ search ...`. A zip file would be smaller,
but Linux loads no compiled library out of one; tools that hide this unpack it into the home directory at the first run.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import zipfile
from pathlib import Path

from scripts.release.distributions import ReleaseError

START = '''"""Runs `sal`: python3 FOLDER search ..."""

from sal_cli.app import main

main()
'''


def unpack(wheelhouse: Path, out: Path) -> None:
    """Unpack all wheels of a wheelhouse into one folder that Python can run.

    Raises:
        ReleaseError: the wheelhouse holds no wheel of sal, or the folder exists.
    """
    if not list(wheelhouse.glob("sal_person_search-*.whl")):
        raise ReleaseError(f"{wheelhouse} holds no wheel of sal; make it with python -m scripts.release.wheelhouse")
    if out.exists():
        raise ReleaseError(f"{out} exists; give the name of a new folder")
    for path in sorted(wheelhouse.glob("*.whl")):
        with zipfile.ZipFile(path) as wheel:
            wheel.extractall(out)
    for data in out.glob("*.data"):  # what a wheel keeps apart: modules belong to the others, the rest is for systems
        for kind in ("purelib", "platlib"):
            if (data / kind).is_dir():
                shutil.copytree(data / kind, out, dirs_exist_ok=True)
        shutil.rmtree(data)
    (out / "__main__.py").write_text(START, encoding="utf-8")


def main() -> int:
    """Unpack; 1 with one line if that cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m scripts.release.application", description=__doc__)
    parser.add_argument("wheelhouse", type=Path, help="made by python -m scripts.release.wheelhouse")
    parser.add_argument("out", type=Path, help="the folder to make")
    given = parser.parse_args()
    try:
        unpack(given.wheelhouse, given.out)
    except ReleaseError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
