"""Time of a whole `sal search` process on the demo gallery with nothing to encode, and of `import sal_runtime`.

    python -m benchmarks.speed.startup

Process time is the user and system time of the child, as the operating system counts it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.speed.measurement import in_turn, seconds, summary, write_result

REPOSITORY = Path(__file__).parents[2]
ROUNDS = 9


def _process_seconds(arguments: list[str]) -> float:
    """User and system seconds of a child process, which must succeed."""
    before = os.times()
    subprocess.run(arguments, check=True, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


def main() -> None:
    """Measure and write the result."""
    with tempfile.TemporaryDirectory() as folder:
        gallery = Path(folder, "gallery")
        shutil.copytree(REPOSITORY / "demo" / "gallery", gallery)
        search = [sys.executable, "-m", "sal_cli", "search", "--attrs", "female,upper=red", "--gallery", str(gallery)]
        python = [sys.executable, "-c", "pass"]
        with_numpy = [sys.executable, "-c", "import numpy"]
        with_sal = [sys.executable, "-c", "import sal_runtime"]
        process = in_turn(
            {
                "search_process": lambda: _process_seconds(search),
                "search_wall": lambda: seconds(lambda: _process_seconds(search)),
                "python_wall": lambda: seconds(lambda: _process_seconds(python)),
                "import_numpy_wall": lambda: seconds(lambda: _process_seconds(with_numpy)),
                "import_sal_runtime_wall": lambda: seconds(lambda: _process_seconds(with_sal)),
            },
            ROUNDS,
        )
    write_result(
        "startup",
        {
            "rounds": ROUNDS,
            "seconds": {name: summary(values) for name, values in process.items()},
            "import_sal_runtime_seconds": summary(
                [a - b for a, b in zip(process["import_sal_runtime_wall"], process["python_wall"], strict=True)]
            ),
            "limits": {"search_process": 0.5, "import_sal_runtime_seconds": 0.4},
        },
    )


if __name__ == "__main__":
    main()
