"""`sal serve`: what is prepared before the service is loaded."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, sys, types
serving = types.ModuleType("sal_cli.serving")
serving.ServeRequest = dict
serving.serve_galleries = lambda request: print(os.environ["OPENBLAS_NUM_THREADS"], "numpy" in sys.modules)
sys.modules["sal_cli.serving"] = serving
from sal_cli.app import main
main(["serve", "yard.sal"])
"""


def test_numpy_multiplies_in_the_threads_of_the_service() -> None:
    """Waiting threads of OpenBLAS took more than half of a search's time on a busy machine."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]
