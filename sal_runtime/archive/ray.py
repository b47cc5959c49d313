"""Encoding an archive of crops on many machines: Ray Data hands out parts, and each becomes one Parquet file.

    report = encode_archive("/archive/crops", "market.bundle", "/archive/encoded", workers=64, address="auto")
    import_gallery([Path("/archive/encoded")], gallery)

A run that was stopped continues where it was. Archive, bundle and output must have the same paths on every machine, as
on a shared file system.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sal_runtime.archive.parts import (
    PART_IMAGES,
    EncodingJob,
    Part,
    PartEncoder,
    is_complete,
    plan_parts,
    remove_other_parts,
    write_failures,
)
from sal_runtime.arrays import Precision, Progress
from sal_runtime.bundle.bundle import IMAGE_ROLE, open_bundle
from sal_runtime.encoding.encoders import MAX_ENCODERS
from sal_runtime.engines.devices import DEVICE_ENTRIES
from sal_runtime.errors import BackendError, InputError, SalError, first_line, install
from sal_runtime.images.folder import Listing, list_images, note_file

OBJECT_STORE_BYTES = 256 * 2**20
"""Object store of a Ray that is started here; it passes only names of files between processes, no images."""


@dataclass(frozen=True)
class ArchiveReport:
    """What `encode_archive` did.

    Attributes:
        images: number of images in the part files.
        failed: number of images in none of them; `failed.jsonl` in the same folder says which and why.
        parts: number of part files.
        unchanged: number of part files that an earlier run had written already.
    """

    images: int
    failed: int
    parts: int
    unchanged: int


def encode_archive(  # noqa: PLR0913 - all but three have defaults that fit
    source: Path | str | Sequence[Path | str],
    bundle_path: Path | str,
    out: Path | str,
    device: str = "cpu",
    precision: Precision = "fp32",
    workers: int = 2,
    address: str | None = None,
    progress: Progress | None = None,
    part_images: int = PART_IMAGES,
) -> ArchiveReport:
    """Encode images to Parquet files that `import_gallery` reads.

    Args:
        source: a folder, searched recursively, whose images get uris relative to it; or paths, which become uris as
            they are.
        bundle_path: the bundle.
        out: folder of the part files, made if need be; other part files in it are deleted.
        device: device of all workers: `cpu`, `cuda` or `trt`. On a GPU, each worker claims one.
        precision: precision of the image encoder.
        workers: processes that encode; each claims up to four cores.
        address: address of a Ray cluster, such as `auto` or `host:6379`; None uses the cluster that this process is
            connected to, or starts one on this machine until the call ends.
        progress: called with the number of images done, and of all images.
        part_images: images of a part; a run with another number makes all parts anew.

    Raises:
        BackendError: Ray or pyarrow is not installed, or the device is not available.
        BundleError: the bundle is missing, damaged, or lacks the encoder.
        InputError: there is no image, the device is `auto` or unknown, or `workers` is not positive.
        SalError: a part cannot be written, or a worker failed.
    """
    if device not in DEVICE_ENTRIES or workers < 1:
        devices = ", ".join(DEVICE_ENTRIES)  # not auto, because all workers must encode alike
        raise InputError(f"got device {device} and {workers} workers, expected one of {devices} and at least 1")
    bundle = open_bundle(bundle_path)
    bundle.artefact(IMAGE_ROLE, device=device, precision=precision)
    folder = Path(out).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SalError(f"{folder}: cannot be made ({error.strerror})") from error
    listing, root = _list(source)
    parts = plan_parts(listing, root, f"{bundle.fingerprint} {precision}", part_images)
    missing = [part for part in parts if not is_complete(folder / part.name, part.inputs)]
    total = sum(len(part.uris) for part in parts)
    done = total - sum(len(part.uris) for part in missing)
    if missing:
        with _ray(address, workers) as (ray, cpus):
            job = EncodingJob(str(bundle.path.resolve()), bundle.fingerprint, str(folder), device, precision, cpus)
            for count in _run(ray, job, missing, workers):
                done += count
                if progress is not None:
                    progress(done, total)
    remove_other_parts(folder, {part.name for part in parts})
    unread = write_failures(folder, listing.failed, parts)
    return ArchiveReport(total - unread, len(listing.failed) + unread, len(parts), len(parts) - len(missing))


class _RayWorker:
    """One process of Ray: takes a job and one of its parts, returns the number of images or an error.

    Both are passed as JSON text, because Ray converts columns of lists and wraps exceptions.
    """

    def __init__(self) -> None:
        self._encoder: PartEncoder | None = None

    def __call__(self, rows: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        return {"answer": [json.dumps(self._encode(*json.loads(text))) for text in rows["task"]]}

    def _encode(self, job: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
        try:
            if self._encoder is None:
                self._encoder = PartEncoder(EncodingJob(**job))
            self._encoder.encode(Part(**part))
        except SalError as error:
            return {"error": str(error)}
        return {"images": len(part["uris"])}


def _list(source: Path | str | Sequence[Path | str]) -> tuple[Listing, str]:
    """The images, and the folder that their uris are relative to."""
    if isinstance(source, (str, Path)):
        listing, root = list_images(Path(source)), str(Path(source).resolve())
    else:
        listing, root = Listing(), str(Path.cwd())
        for path in source:
            note_file(listing, str(path), str(path))
    if not listing.files:
        reasons = "".join(f"; {path}: {reason}" for path, reason in listing.failed[:3])
        raise InputError(f"got no image that can be read in {root}{reasons}")
    return listing, root


def _import_ray() -> Any:
    """The module ray, with its `data`."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # otherwise a Ray that starts here sends usage reports
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise BackendError(f"encoding on many machines needs Ray Data ({error}); {install('ray')}") from error
    return ray


@contextmanager
def _ray(address: str | None, workers: int) -> Iterator[tuple[Any, int]]:
    """The module ray, connected, and the number of cores that each worker claims; a Ray started here ends here."""
    ray = _import_ray()
    is_ours = not ray.is_initialized()
    try:
        if is_ours:
            _start(ray, address, workers)
        nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
        cpus = min(MAX_ENCODERS, int(sum(nodes)) // workers, *(int(count) for count in nodes if count))
        yield ray, max(1, cpus)
    except ray.exceptions.RayError as error:
        raise SalError(f"Ray failed: {first_line(error)}") from error
    finally:
        if is_ours:
            ray.shutdown()


def _start(ray: Any, address: str | None, workers: int) -> None:
    """Connect to a cluster, or start Ray on this machine."""
    cpus = max(1, min(MAX_ENCODERS, (os.cpu_count() or 1) // workers))
    local = {"num_cpus": cpus * workers, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **({} if address else local))
    except Exception as error:  # Ray raises nothing narrower when it is too slow to start
        what = f"reached at {address}" if address else "started"
        raise SalError(f"Ray cannot be {what}: {first_line(error)}") from error


def _run(ray: Any, job: EncodingJob, parts: Sequence[Part], workers: int) -> Iterator[int]:
    """Encode parts on the workers; yields the number of images of each part when it is written."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    rows = [{"task": json.dumps([asdict(job), asdict(part)])} for part in parts]
    gpus = {} if DEVICE_ENTRIES[job.device].on_cpu else {"num_gpus": 1}
    encoded = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _RayWorker,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(rows))),
        num_cpus=job.cpus,
        **gpus,
    )
    for row in encoded.iter_rows():
        answer = json.loads(row["answer"])
        if "error" in answer:
            raise SalError(f"on a worker of Ray: {answer['error']}")
        yield answer["images"]
