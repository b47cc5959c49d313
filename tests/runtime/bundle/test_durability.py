"""A bundle that is being replaced, when its writer is killed or the disk is full: the old one or the new one, whole."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

from sal_runtime import files
from sal_runtime.bundle.bundle import open_bundle
from tests.runtime.tiny_bundle import make_tiny_bundle

REPOSITORY = Path(__file__).parents[3]
KILLS = 25

WRITE_FOR_EVER = """
import sys
from pathlib import Path
from tests.runtime.tiny_bundle import make_tiny_bundle
print("ready", flush=True)
number = 0
while True:
    make_tiny_bundle(Path(sys.argv[1]), seed=number % 2)
    number += 1
"""

WRITE_WITH_LITTLE_SPACE = """
import resource, signal, sys
from pathlib import Path
from sal_runtime.errors import BundleError
from tests.runtime.tiny_bundle import make_tiny_bundle
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    make_tiny_bundle(Path(sys.argv[1]), seed=1)
except BundleError as error:
    sys.exit(str(error))
"""


def test_kill_at_any_moment_leaves_a_whole_bundle(tmp_path: Path) -> None:
    place = tmp_path / "tiny"
    known = {open_bundle(make_tiny_bundle(tmp_path / f"seed{seed}", seed=seed)).fingerprint for seed in (0, 1)}
    make_tiny_bundle(place)
    rng = random.Random(0)
    seen: set[str] = set()
    kills = 0
    while kills < KILLS or (seen != known and kills < 10 * KILLS):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITE_FOR_EVER, str(place)], cwd=REPOSITORY, stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(rng.uniform(0, 0.01 * kills))
        writer.kill()
        kills += 1
        writer.wait()
        writer.stdout.close()
        seen.add(open_bundle(place).fingerprint)  # checks every byte
    assert seen == known  # the writers did write, and both kinds were met


def test_a_disk_that_is_full_keeps_the_old_bundle(tmp_path: Path) -> None:
    old = open_bundle(make_tiny_bundle(tmp_path / "tiny"))
    for limit in (0, 100, 1_000):
        command = [sys.executable, "-c", WRITE_WITH_LITTLE_SPACE, str(tmp_path / "tiny"), str(limit)]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "nothing has been changed" in done.stderr
        assert open_bundle(tmp_path / "tiny").fingerprint == old.fingerprint
        assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_what_a_killed_writer_left_is_swept_up_a_day_later(tmp_path: Path) -> None:
    abandoned, recent, foreign = tmp_path / ".tiny.abc", tmp_path / ".tiny.def", tmp_path / ".other.abc"
    for folder in (abandoned, recent, foreign):
        folder.mkdir()
        (folder / "image_encoder.onnx").write_bytes(b"half")
    past = time.time() - files.ABANDONED_SECONDS - 1
    for folder in (abandoned, foreign):
        os.utime(folder, (past, past))
    make_tiny_bundle(tmp_path / "tiny")
    assert {path.name for path in tmp_path.iterdir()} == {"tiny", recent.name, foreign.name}
