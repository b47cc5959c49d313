"""Prove that every extra resolves on each supported Python, with the lowest and with the newest versions, to wheels.

python -m scripts.release.resolution

Nothing is installed: uv reads what the index says of each package, as if it ran on the Python and the processor asked
for.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
ALONE = ("gpu",)
"""Extras that exclude another one; all the others are resolved together, which is harder than each alone."""
LEFT_OUT = {
    "dev": "constraints.txt pins it",
    "trt": "TensorRT's packages fetch their libraries from NVIDIA's own index when they are installed",
}
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28")
RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}
AT_ONCE = 4
"""Resolutions that run side by side; they mostly wait for the index."""


@dataclass(frozen=True)
class Case:
    """Some extras on one kind of box.

    Attributes:
        extras: the extras.
        python: version, as in "3.11".
        platform: as uv names it.
        versions: `lowest` or `newest`.
    """

    extras: tuple[str, ...]
    python: str
    platform: str
    versions: str


def cases(project: Path = REPOSITORY / "pyproject.toml") -> list[Case]:
    """All that has to resolve: the Pythons are those of the classifiers."""
    described = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    pythons = re.findall(r"Python :: (3\.\d+)", "\n".join(described["classifiers"]))
    together = tuple(extra for extra in described["optional-dependencies"] if extra not in {*ALONE, *LEFT_OUT})
    sets = [together, *((extra,) for extra in ALONE)]
    return [
        Case(extras, python, platform, versions)
        for extras, python, platform, versions in product(sets, pythons, PLATFORMS, RESOLUTIONS)
        # ONNX Runtime has no CUDA wheels for other processors
        if extras == together or platform == PLATFORMS[0]
    ]


def resolve(case: Case) -> str:
    """What uv chooses, a line `NAME==VERSION` each; or what stands in the way, after `error:`."""
    command = [sys.executable, "-m", "uv", "pip", "compile", str(REPOSITORY / "pyproject.toml"), "--quiet"]
    command += ["--no-header", "--no-annotate", "--only-binary", ":all:", "--python-version", case.python]
    command += ["--python-platform", case.platform, "--resolution", RESOLUTIONS[case.versions]]
    command += [word for extra in case.extras for word in ("--extra", extra)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else f"error: {done.stderr}"


def main() -> int:
    """Resolve everything and print a line each; 1 if anything does not."""
    failed = False
    with ThreadPoolExecutor(AT_ONCE) as pool:
        everything = cases()
        for case, answer in zip(everything, pool.map(resolve, everything), strict=True):
            place = f"Python {case.python}, {case.platform}, {case.versions} versions of {','.join(case.extras)}"
            is_error = answer.startswith("error:")
            failed |= is_error
            print(f"{place}: {answer if is_error else len(answer.splitlines())}{'' if is_error else ' packages'}")
    for extra, reason in LEFT_OUT.items():
        print(f"not tried: {extra}: {reason}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
