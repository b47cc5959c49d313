"""Encoding an archive on several processes gives what one process gives, whatever the number of workers."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from sal_runtime.archive.parts import EncodingJob, PartEncoder, is_complete, plan_parts
from sal_runtime.archive.ray import ArchiveReport, encode_archive
from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.bundle.shipped import default_bundle_path
from sal_runtime.encoding.encoders import ImageEncoder, LazyImageEncoder
from sal_runtime.encoding.pipeline import encode_stream
from sal_runtime.errors import BackendError, BundleError, InputError, SalError
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.gallery.parquet import import_gallery, read_parquet
from sal_runtime.gallery.update import load_item
from sal_runtime.images.folder import list_images
from tests.runtime.gallery_contents import uris as uris_of
from tests.runtime.gallery_images import IMAGE_URIS, add_unreadable, make_folder, write_image
from tests.runtime.made_up_items import unit_vectors
from tests.runtime.memory_gallery import MemoryGallery
from tests.runtime.ray_process import PART_IMAGES, RayProcess
from tests.runtime.tiny_bundle import make_tiny_bundle

Encoded = dict[str, tuple[GalleryItem, NDArray[np.float32]]]


@pytest.fixture(scope="module")
def two_workers() -> Iterator[RayProcess]:
    process = RayProcess(with_ray=True)
    yield process
    process.close()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 images, and six files that are none."""
    folder = make_folder(tmp_path_factory.mktemp("archive") / "crops")
    rng = np.random.default_rng(3)
    for number in range(30):
        red, green, blue = map(int, rng.integers(0, 256, 3))
        write_image(folder / f"cam{number % 3}" / f"{number:03}.png", (red, green, blue), (40, 20))
    add_unreadable(folder)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny.bundle")


def in_one_process(folder: Path, bundle: Bundle) -> Encoded:
    files = list_images(folder).files

    def load(uri: str) -> tuple[GalleryItem, NDArray[np.uint8]]:
        return load_item(files[uri].path, uri, bundle.image_spec)

    encode = LazyImageEncoder(bundle)
    batches = list(encode_stream(sorted(files), load, encode))
    return {
        item.uri: (item, vector)
        for batch in batches
        for item, vector in zip(batch.records, batch.embeddings, strict=True)
    }


def in_parts(out: Path) -> Encoded:
    return {
        item.uri: (item, vector)
        for file in sorted(out.glob("*.parquet"))
        for items, vectors in read_parquet(file)
        for item, vector in zip(items, vectors, strict=True)
    }


def assert_same(found: Encoded, expected: Encoded) -> None:
    assert {uri: item for uri, (item, _) in found.items()} == {uri: item for uri, (item, _) in expected.items()}
    for uri, (_, vector) in found.items():
        np.testing.assert_allclose(vector, expected[uri][1], rtol=0, atol=1e-6)


def part_bytes(out: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in out.glob("*.parquet")}


def test_parts_hold_what_one_process_gives(two_workers: RayProcess, archive: Path, tiny: Path, tmp_path: Path) -> None:
    report = two_workers.encode(archive, tiny, tmp_path / "two")
    seen = two_workers.progress

    assert report == ArchiveReport(images=36, failed=6, parts=5, unchanged=0)
    assert sorted(seen) == seen
    assert seen[-1] == (41, 41)  # the dangling link could not be looked at
    assert_same(in_parts(tmp_path / "two"), in_one_process(archive, open_bundle(tiny)))
    failures = [json.loads(line) for line in (tmp_path / "two" / "failed.jsonl").read_text().splitlines()]
    assert sorted(Path(failure["uri"]).name for failure in failures) == [
        "damaged.bmp", "dangling.jpg", "empty.jpg", "huge.png", "text.png", "truncated.jpg"
    ]  # fmt: skip
    assert all(failure["reason"] for failure in failures)

    two_workers.encode(archive, tiny, tmp_path / "one", workers=1)
    assert part_bytes(tmp_path / "one") == part_bytes(tmp_path / "two")


def test_the_edge_bundle(two_workers: RayProcess, archive: Path, tmp_path: Path) -> None:
    report = two_workers.encode(archive / "cam1", default_bundle_path(), tmp_path / "out", precision="int8", workers=3)
    assert (report.images, report.failed) == (10, 0)
    bundle = open_bundle(default_bundle_path())
    files = list_images(archive / "cam1").files
    images = [load_item(file.path, uri, bundle.image_spec)[1] for uri, file in files.items()]
    expected = LazyImageEncoder(bundle, precision="int8")(np.stack(images))
    found = in_parts(tmp_path / "out")
    assert list(found) == list(files)
    np.testing.assert_allclose(np.stack([vector for _, vector in found.values()]), expected, rtol=0, atol=1e-6)


def test_parts_of_several_processes_search_like_one(
    two_workers: RayProcess, archive: Path, tiny: Path, tmp_path: Path
) -> None:
    """Two archives of disjoint images, encoded one after the other, imported into one gallery."""
    bundle = open_bundle(tiny)
    uris = sorted(list_images(archive).files)
    paths = [str(archive / uri) for uri in uris]
    two_workers.encode(paths[::2], tiny, tmp_path / "even")
    two_workers.encode(paths[1::2], tiny, tmp_path / "odd")
    together = MemoryGallery(bundle.fingerprint, bundle.embedding_dim)
    assert import_gallery([tmp_path / "even", tmp_path / "odd"], together) == 36

    alone = MemoryGallery(bundle.fingerprint, bundle.embedding_dim)
    expected = in_one_process(archive, bundle)
    alone.add([item for item, _ in expected.values()], np.stack([vector for _, vector in expected.values()]))
    queries = unit_vectors(5)
    for found, expected_hits in zip(together.nearest(queries, 12), alone.nearest(queries, 12), strict=True):
        assert uris_of(found) == [str(archive / uri) for uri in uris_of(expected_hits)]
        np.testing.assert_allclose(found.scores, expected_hits.scores, rtol=0, atol=1e-6)


def test_only_what_changed_is_encoded_again(two_workers: RayProcess, archive: Path, tiny: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "crops", tmp_path / "out"
    shutil.copytree(archive, folder, symlinks=True)
    (folder / "dangling.jpg").unlink()
    bundle = open_bundle(tiny)
    assert two_workers.encode(folder, tiny, out).unchanged == 0
    times = {file.name: file.stat().st_mtime_ns for file in out.glob("*.parquet")}

    assert two_workers.encode(folder, tiny, out) == ArchiveReport(images=36, failed=5, parts=5, unchanged=5)
    assert {file.name: file.stat().st_mtime_ns for file in out.glob("*.parquet")} == times

    write_image(folder / "cam2" / "002.png", (1, 2, 3))
    (out / "part-000000.parquet").write_bytes(b"damaged")
    assert two_workers.encode(folder, tiny, out).unchanged == 3
    assert_same(in_parts(out), in_one_process(folder, bundle))

    shutil.rmtree(folder / "cam2")
    report = two_workers.encode(folder, tiny, out)
    assert (report.images, report.parts) == (26, 4)
    assert_same(in_parts(out), in_one_process(folder, bundle))


def test_a_plan_depends_on_bundle_and_files_only(archive: Path) -> None:
    listing = list_images(archive)
    first = plan_parts(listing, "root", "bundle fp32", PART_IMAGES)
    again = plan_parts(listing, "elsewhere", "bundle fp32", PART_IMAGES)
    assert [part.inputs for part in first] == [part.inputs for part in again]
    assert [uri for part in first for uri in part.uris] == sorted(listing.files)
    assert {len(part.uris) for part in first[:-1]} == {PART_IMAGES}
    others = plan_parts(listing, "root", "bundle int8", PART_IMAGES)
    assert not {part.inputs for part in first} & {part.inputs for part in others}


def test_a_part_without_an_image_that_can_be_read(tiny: Path, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_text("no image")
    (part,) = plan_parts(list_images(tmp_path), str(tmp_path), "x")
    job = EncodingJob(str(tiny), open_bundle(tiny).fingerprint, str(tmp_path), "cpu", "fp32", 1)
    PartEncoder(job).encode(part)
    assert in_parts(tmp_path) == {}
    assert is_complete(tmp_path / part.name, part.inputs)
    assert not is_complete(tmp_path / part.name, "other")


def test_row_groups_are_cut_where_they_should_be(archive: Path, tiny: Path, tmp_path: Path) -> None:
    (part,) = plan_parts(list_images(archive), str(archive), "x")
    job = EncodingJob(str(tiny), open_bundle(tiny).fingerprint, str(tmp_path), "cpu", "fp32", 2)
    PartEncoder(job).encode(part, batch_rows=20)
    groups = pq.ParquetFile(tmp_path / part.name).metadata
    assert groups.num_row_groups == 2
    assert_same(in_parts(tmp_path), in_one_process(archive, open_bundle(tiny)))


def test_a_worker_encodes_on_all_of_its_cores(
    archive: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (part,) = plan_parts(list_images(archive), str(archive), "x")  # two batches
    both = threading.Barrier(2, timeout=20)
    encode = ImageEncoder.encode

    def together(self: ImageEncoder, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        both.wait()  # for the other batch; raises where it is not encoded at the same time
        return encode(self, images)

    monkeypatch.setattr(ImageEncoder, "encode", together)
    job = EncodingJob(str(tiny), open_bundle(tiny).fingerprint, str(tmp_path), "cpu", "fp32", 2)
    PartEncoder(job).encode(part)
    assert is_complete(tmp_path / part.name, part.inputs)


def test_a_worker_with_another_bundle_refuses(tiny: Path, tmp_path: Path) -> None:
    job = EncodingJob(str(tiny), "0" * 64, str(tmp_path), "cpu", "fp32", 1)
    with pytest.raises(InputError, match=r"on a worker, expected 000000000000; put the same bundle"):
        PartEncoder(job)


def test_an_error_of_a_worker_is_one_line(two_workers: RayProcess, archive: Path, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "part-000001.parquet").mkdir()
    with pytest.raises(SalError, match=r"on a worker of Ray: .*part-000001\.parquet: cannot be written") as caught:
        two_workers.encode(archive, tiny, tmp_path)
    assert "\n" not in str(caught.value)


def test_what_is_refused_at_once(archive: Path, tiny: Path, tmp_path: Path) -> None:
    for wrong in ({"device": "auto"}, {"device": "tpu"}, {"workers": 0}):
        with pytest.raises(InputError, match="expected one of trt, cuda, cpu"):
            encode_archive(archive, tiny, tmp_path / "out", **wrong)
    with pytest.raises(BundleError, match="no image_encoder in int8"):
        encode_archive(archive, tiny, tmp_path / "out", precision="int8")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"got no image that can be read in .*empty"):
        encode_archive(tmp_path / "empty", tiny, tmp_path / "out")
    with pytest.raises(InputError, match=r"none\.jpg: No such file"):
        encode_archive([tmp_path / "none.jpg"], tiny, tmp_path / "out")


def test_the_extra_is_named_where_it_is_missing(
    archive: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BackendError, match=r'in the checkout of sal: `pip install "\.\[ray\]"`'):
        encode_archive(archive, tiny, tmp_path)


def test_a_cluster_that_is_not_there(
    archive: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(address: str, **settings: object) -> None:
        raise ConnectionError("no Ray there\nlong explanation")

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", refuse)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    with pytest.raises(SalError, match=r"^Ray cannot be reached at nowhere:6379: no Ray there$"):
        encode_archive(archive, tiny, tmp_path, address="nowhere:6379")


def test_a_ray_of_its_own_ends_with_it(archive: Path, tiny: Path, tmp_path: Path) -> None:
    process = RayProcess(with_ray=False)
    expected = [uri for uri in IMAGE_URIS if uri.startswith("cam 1/")]
    assert process.encode(archive / "cam 1", tiny, tmp_path / "out", workers=1).images == len(expected)
    assert not process.ray_is_left
    process.close()
