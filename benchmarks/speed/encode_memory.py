"""Peak memory of encoding 1,000 and 10,000 images, from a generator of frames and from a folder into a gallery.

    python -m benchmarks.speed.encode_memory [BUNDLE]

Each measurement runs in its own process, whose largest resident set counts. Every crop of the generator has a frame of
its own, 0.4 MB, so kept frames would show. Limit: the peak of 10,000 images is at most 1.1 times that of 1,000.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.speed.measurement import write_result
from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.bundle.shipped import default_bundle_path
from sal_runtime.images.sources import Crop

COUNTS = (1_000, 10_000)
FRAME_SHAPE = (270, 480, 3)
LIMIT = 1.1


def main() -> None:
    """Measure and write the result."""
    path = sys.argv[1] if len(sys.argv) > 1 else str(default_bundle_path())
    bundle = open_bundle(path)
    result: dict[str, object] = {"bundle": f"{bundle.name} ({bundle.fingerprint[:12]})", "limit": LIMIT}
    with tempfile.TemporaryDirectory() as folder:
        for way in ("generator", "folder"):
            peaks = {}
            for count in COUNTS:
                images = Path(folder, f"{count}")
                if way == "folder":
                    _in_process("draw", path, str(count), str(images))
                peaks[count] = float(_in_process(way, path, str(count), str(images)))
                print(f"{way}, {count:,} images: {peaks[count]:.0f} MB", file=sys.stderr)
            ratio = peaks[COUNTS[-1]] / peaks[COUNTS[0]]
            result[way] = {"peak_mb": {str(count): peak for count, peak in peaks.items()}, "ratio": ratio}
    write_result("encode_memory", result)


def _in_process(*arguments: str) -> str:
    """The output of a new process that does one part of the work."""
    command = (sys.executable, "-c", "from benchmarks.speed.encode_memory import part; part()", *arguments)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def part() -> None:
    """Do the part of the work that the arguments name, and print the peak memory in MB."""
    way, path, count, folder = sys.argv[1:]
    bundle = open_bundle(path)
    if way == "draw":
        from sal_cli.bench.drawn import write_people

        Path(folder).mkdir()
        write_people(Path(folder), int(count), bundle.image_spec)
    elif way == "generator":
        _encode_generator(bundle, int(count))
    else:
        _encode_folder(bundle, Path(folder))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _encode_generator(bundle: Bundle, count: int) -> None:
    from sal_runtime.encoding.bulk import encode_images
    from sal_runtime.encoding.encoders import bulk_image_encoder

    encoded = sum(len(batch.positions) for batch in encode_images(bulk_image_encoder(bundle), _video(count)))
    assert encoded == count


def _video(count: int) -> Iterator[Crop]:
    import numpy as np

    rng = np.random.default_rng(0)
    for _ in range(count):
        yield Crop(rng.integers(0, 256, FRAME_SHAPE, dtype=np.uint8), (100, 20, 80, 200))


def _encode_folder(bundle: Bundle, folder: Path) -> None:
    from sal_runtime.encoding.encoders import bulk_image_encoder
    from sal_runtime.gallery.folder import sync_folder

    sync_folder(folder, bundle, bulk_image_encoder(bundle).encode)


if __name__ == "__main__":
    main()
