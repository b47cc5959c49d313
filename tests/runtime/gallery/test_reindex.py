"""Encoding a gallery anew: the new generation replaces the old one whole, or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.encoding.encoders import ImageEncoder
from sal_runtime.errors import InputError, ReindexedError
from sal_runtime.gallery import generations
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem, ItemFilter
from sal_runtime.gallery.protocol import check_bundle
from sal_runtime.gallery.reindex import ReindexReport, reindex
from sal_runtime.images.pixels import load_image
from tests.runtime.gallery_contents import stored_vectors
from tests.runtime.gallery_images import IMAGE_URIS, make_folder, write_image
from tests.runtime.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle]:
    folder = tmp_path_factory.mktemp("bundles")
    return tuple(open_bundle(make_tiny_bundle(folder / f"b{seed}", f"b{seed}", seed)) for seed in (0, 1))  # type: ignore[return-value]


@pytest.fixture
def path(tmp_path: Path, bundles: tuple[Bundle, Bundle]) -> Path:
    """Six images of the old bundle, two cameras, added at a time of its own."""
    folder = make_folder(tmp_path / "crops")
    uris = sorted(str(folder / uri) for uri in IMAGE_URIS)
    items = [GalleryItem(uri, camera=f"c{n % 2}", metadata={"n": str(n)}) for n, uri in enumerate(uris)]
    images = np.stack([load_image(Path(uri), bundles[0].image_spec) for uri in uris])
    with Gallery.create(tmp_path / "yard.sal", bundles[0]) as gallery:
        gallery.add(items, ImageEncoder(bundles[0]).encode(images))
        with gallery._writing() as connection:
            connection.execute("UPDATE item SET added_at = 1000 + id")
    return tmp_path / "yard.sal"


def run(path: Path, bundle: Bundle, **options: Any) -> ReindexReport:
    with Gallery.open(path, "w") as gallery:
        return reindex(gallery, bundle, ImageEncoder(bundle).encode, "fp32", **options)


def contents(path: Path) -> dict[str, tuple[GalleryItem, bytes, float]]:
    with Gallery.open(path) as gallery:
        assert gallery.verify() == []
        ids, vectors = stored_vectors(gallery)
        with gallery._reading() as connection:
            added = dict(connection.execute("SELECT uri, added_at FROM item"))
        return {
            item.uri: (item, vector.tobytes(), added[item.uri])
            for item, vector in zip(gallery.items(ids), vectors, strict=True)
        }


def test_everything_is_of_the_new_bundle(path: Path, bundles: tuple[Bundle, Bundle]) -> None:
    before = contents(path)
    assert run(path, bundles[1]) == ReindexReport(6, 0, ())
    after = contents(path)
    assert after.keys() == before.keys()
    encoder = ImageEncoder(bundles[1])
    for uri, (item, vector, added) in after.items():
        old = before[uri]
        assert (item.camera, item.metadata, added) == (old[0].camera, old[0].metadata, old[2])
        expected = encoder.encode(load_image(Path(uri), bundles[1].image_spec)[None])[0]
        np.testing.assert_allclose(np.frombuffer(vector, np.float32), expected, atol=1e-6)
        assert vector != old[1]
        assert not any(old[1] in file.read_bytes() for file in path.parent.glob("*yard.sal*"))
    assert [file.name for file in path.parent.glob("*yard.sal*")] == ["yard.sal"]
    with Gallery.open(path) as gallery:
        check_bundle(gallery, bundles[1])
        query = np.eye(gallery.embedding_dim, dtype=np.float32)[:1]
        assert gallery.nearest(query, 9, ItemFilter(cameras=["c1"]))[0].scores.shape == (3,)


def test_open_handles_notice_and_ids_are_not_used_twice(path: Path, bundles: tuple[Bundle, Bundle]) -> None:
    query = np.eye(8, dtype=np.float32)[:1]
    with Gallery.open(path) as reader:
        reader.nearest(query, 6)
        ids, _ = stored_vectors(reader)
        run(path, bundles[1])
        with pytest.raises(ReindexedError, match="encoded anew with another bundle meanwhile; open it again"):
            reader.nearest(query, 6)
        with pytest.raises(InputError, match="removed meanwhile"):
            reader.items(ids)


def test_what_cannot_be_read_stops_it_and_the_work_is_kept(path: Path, bundles: tuple[Bundle, Bundle]) -> None:
    before = contents(path)
    gone = Path(sorted(before)[2])
    image = gone.read_bytes()
    gone.unlink()
    with pytest.raises(InputError, match=r"1 of 6 images cannot be read any more .first: .*set drop_missing"):
        run(path, bundles[1])
    assert contents(path) == before
    gone.write_bytes(image)
    assert run(path, bundles[1]) == ReindexReport(1, 5, ())
    gone.unlink()
    report = run(path, bundles[0], drop_missing=True)
    assert (report.encoded, report.kept, [path for path, _ in report.dropped]) == (5, 0, [str(gone)])
    assert contents(path).keys() == before.keys() - {str(gone)}


def test_a_stopped_run_continues_and_sees_what_changed(path: Path, bundles: tuple[Bundle, Bundle]) -> None:
    before = contents(path)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(path, bundles[1], progress=stop)
    assert contents(path) == before
    uris = sorted(before)
    new = str(write_image(path.parent / "new.png", (9, 99, 200)))
    with Gallery.open(path, "w") as gallery:
        gallery.remove([uris[0]])
        gallery.update([replace(before[uris[1]][0], camera="moved")])
        vector = ImageEncoder(bundles[0]).encode(load_image(Path(new), bundles[0].image_spec)[None])
        gallery.add([GalleryItem(new)], vector)
    assert run(path, bundles[1]) == ReindexReport(2, 4, ())
    after = contents(path)
    assert after.keys() == {*uris[1:], new}
    assert after[uris[1]][0].camera == "moved"


def test_a_failing_swap_leaves_the_old_generation(
    path: Path, bundles: tuple[Bundle, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(path)
    take = generations.take_generation

    def fail(connection: Any) -> None:
        take(connection)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(generations, "take_generation", fail)
        with pytest.raises(Exception, match="No space left"):
            run(path, bundles[1])
    assert contents(path) == before
    assert run(path, bundles[1]) == ReindexReport(0, 6, ())


def test_another_precision_of_the_same_bundle(path: Path, bundles: tuple[Bundle, Bundle]) -> None:
    def encode(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return -ImageEncoder(bundles[0]).encode(images)

    with Gallery.open(path) as reader, Gallery.open(path, "w") as gallery:
        before = stored_vectors(reader)[1]
        reindex(gallery, bundles[0], encode, "int8")
        np.testing.assert_allclose(np.sort(stored_vectors(reader)[1], axis=0), np.sort(-before, axis=0), atol=1e-6)
        assert gallery.precision == "int8"


def test_ids_of_items_added_between_two_runs_are_not_used_twice(path: Path, bundles: tuple[Bundle, Bundle]) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(path, bundles[1], progress=stop)
    new = str(write_image(path.parent / "new.png", (9, 99, 200)))
    with Gallery.open(path, "w") as gallery:
        gallery.add([GalleryItem(new)], ImageEncoder(bundles[0]).encode(np.zeros((1, 16, 8, 3), np.uint8)))
        before = set(stored_vectors(gallery)[0].tolist())
    run(path, bundles[1])
    with Gallery.open(path) as gallery:
        assert not before & set(stored_vectors(gallery)[0].tolist())


def test_every_reader_is_told_to_open_again(path: Path, bundles: tuple[Bundle, Bundle]) -> None:
    with Gallery.open(path) as reader:
        run(path, bundles[1])
        for work in (reader.verify, lambda: stored_vectors(reader), lambda: list(reader.chunks())):
            with pytest.raises(ReindexedError, match="encoded anew with another bundle meanwhile; open it again"):
                work()


def test_a_removal_reaches_what_a_stopped_run_keeps(path: Path, bundles: tuple[Bundle, Bundle]) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(path, bundles[1], progress=stop)
    uri = sorted(contents(path))[0]
    with Gallery.open(path, "w") as gallery:
        assert any(uri.encode() in file.read_bytes() for file in path.parent.glob(".yard.sal.reindex*"))
        gallery.remove([uri])
        assert not any(uri.encode() in file.read_bytes() for file in path.parent.glob("*yard.sal*"))


def test_an_image_that_changed_between_two_runs_is_encoded_again(path: Path, bundles: tuple[Bundle, Bundle]) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(path, bundles[1], progress=stop)
    changed = next(uri for uri in contents(path) if uri.endswith(".bmp"))
    write_image(Path(changed), (1, 200, 3))
    report = run(path, bundles[1])
    assert (report.encoded, report.kept) == (1, 5)
    expected = ImageEncoder(bundles[1]).encode(load_image(Path(changed), bundles[1].image_spec)[None])[0]
    np.testing.assert_allclose(np.frombuffer(contents(path)[changed][1], np.float32), expected, atol=1e-6)


def test_a_change_by_another_thread_is_not_lost(path: Path, bundles: tuple[Bundle, Bundle]) -> None:
    new = str(write_image(path.parent / "new.png", (9, 99, 200)))
    with Gallery.open(path, "w") as gallery:
        vector = ImageEncoder(bundles[0]).encode(load_image(Path(new), bundles[0].image_spec)[None])

        def add(done: int, total: int) -> None:
            gallery.add([GalleryItem(new)], vector)

        with pytest.raises(InputError, match="was changed meanwhile; run it again"):
            reindex(gallery, bundles[1], ImageEncoder(bundles[1]).encode, "fp32", progress=add)
    assert run(path, bundles[1]) == ReindexReport(1, 6, ())
    assert new in contents(path)
