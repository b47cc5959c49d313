"""Importing ONNX Runtime: it reports nothing to anybody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

VARIABLE = "ORT_DISABLE_TELEMETRY"
ENCODE = """
import sys
import numpy as np
from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.bundle.shipped import default_bundle_path
from sal_runtime.encoding.encoders import AttributeEncoder
bundle = open_bundle(default_bundle_path())
AttributeEncoder(bundle).encode(np.zeros((1, bundle.schema.num_bits), np.uint8))
print("onnxruntime" in sys.modules)
"""
PRINT = f"""
import os
from sal_runtime.engines.installed import import_onnxruntime
import_onnxruntime()
print(os.environ["{VARIABLE}"])
"""


def run_at_home(code: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python with an empty home directory and without what other tests have set."""
    unset = {VARIABLE, "CI", "XDG_CACHE_HOME"}
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    environment |= {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", **variables}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=Path(__file__).parents[3], capture_output=True, text=True
    )


def test_encoding_leaves_nothing_in_the_home_directory(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    done = run_at_home(ENCODE, tmp_path)
    assert done.stdout == "True\n", done.stderr
    assert list(tmp_path.rglob("*")) == []


def test_encoding_prints_nothing_where_there_is_no_home_directory() -> None:
    pytest.importorskip("onnxruntime")
    done = run_at_home(ENCODE, Path("/proc/none"))
    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.parametrize(("given", "expected"), [({}, "1"), ({VARIABLE: "0"}, "0")], ids=["unset", "set"])
def test_the_variable_is_set_unless_the_user_has_set_it(given: dict[str, str], expected: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    assert run_at_home(PRINT, tmp_path, **given).stdout.strip() == expected
