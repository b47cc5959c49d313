"""Galleries as Parquet files: round trips, what plain readers see, and files that are refused."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sal_runtime.errors import BackendError, InputError, SalError
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.gallery.milvus.gallery import MilvusGallery
from sal_runtime.gallery.parquet import (
    EmbeddingOrigin,
    export_gallery,
    import_gallery,
    read_notes,
    read_parquet,
    write_parquet,
)
from tests.runtime.made_up_items import fake_bundle, item_strategy, made_up_items, unit_vectors
from tests.runtime.memory_gallery import MemoryGallery, contents

FINGERPRINT = "f" * 64
DIM = 8


def filled(count: int, seed: int = 0) -> MemoryGallery:
    gallery = MemoryGallery(FINGERPRINT, DIM)
    gallery.add(made_up_items(count, seed), unit_vectors(count, seed=seed))
    return gallery


@settings(max_examples=60, deadline=None)
@given(items=st.lists(item_strategy(st.text(st.characters(exclude_categories=["Cs"]), max_size=5)), max_size=12))
def test_round_trip(items: list[GalleryItem], tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("parquet") / "g.parquet"
    source, target = MemoryGallery(FINGERPRINT, DIM, chunk_rows=5), MemoryGallery(FINGERPRINT, DIM)
    source.add(items, unit_vectors(len(items)))
    assert export_gallery(source, out) == len(source)
    assert import_gallery([out], target) == len(source)
    assert contents(target) == contents(source)
    assert [path.name for path in out.parent.iterdir()] == ["g.parquet"]


def test_round_trip_through_milvus(tmp_path: Path) -> None:
    source, back = filled(60), MemoryGallery(FINGERPRINT, DIM)
    with MilvusGallery.create(tmp_path / "g.db", "g", fake_bundle()) as milvus:
        export_gallery(source, tmp_path / "there.parquet")
        import_gallery([tmp_path / "there.parquet"], milvus)
        export_gallery(milvus, tmp_path / "back.parquet")
    import_gallery([tmp_path / "back.parquet"], back)
    assert contents(back) == contents(source)
    assert read_notes(tmp_path / "back.parquet")["bundle_name"] == "tiny"


def test_plain_readers_see_the_columns(tmp_path: Path) -> None:
    item = GalleryItem("ä.jpg", "ab" * 32, 12, 34, "c1", 1.5e9, "t7", (1, 2, 30, 40), {"zone": "north", "a": "b"})
    gallery = MemoryGallery(FINGERPRINT, DIM)
    vectors = unit_vectors(2)
    gallery.add([item, GalleryItem("plain.jpg")], vectors)
    export_gallery(gallery, tmp_path / "g.parquet")

    table = pq.read_table(tmp_path / "g.parquet")
    assert {field.name: str(field.type) for field in table.schema} == {
        "uri": "string",
        "content_hash": "string",
        "size": "int64",
        "mtime_ns": "int64",
        "camera": "string",
        "captured_at": "double",
        "track": "string",
        "box": "list<element: int32>",
        "metadata": "map<string, string ('metadata')>",
        "embedding": "fixed_size_list<element: float>[8]",
    }
    assert table.schema.metadata == {
        b"sal.format_version": b"1",
        b"sal.fingerprint": FINGERPRINT.encode(),
        b"sal.embedding_dim": b"8",
        b"sal.precision": b"fp32",
        b"sal.bundle_name": b"",
    }
    frame = table.to_pandas()
    assert frame.uri.tolist() == ["ä.jpg", "plain.jpg"]
    assert frame.camera[0] == "c1"
    assert frame.box[0].tolist() == [1, 2, 30, 40]
    assert frame.metadata[0] == [("a", "b"), ("zone", "north")]
    np.testing.assert_array_equal(np.stack(frame.embedding), vectors)
    assert frame.drop(columns=["uri", "metadata", "embedding"]).iloc[1].isna().all()


def test_row_groups_are_bounded(tmp_path: Path) -> None:
    source = filled(20)
    seen: list[tuple[int, int]] = []
    export_gallery(source, tmp_path / "g.parquet", lambda done, total: seen.append((done, total)), batch_rows=4)
    groups = pq.ParquetFile(tmp_path / "g.parquet").metadata
    assert [groups.row_group(number).num_rows for number in range(groups.num_row_groups)] == [4, 3, 4, 3, 4, 2]
    assert seen == [(4, 20), (7, 20), (11, 20), (14, 20), (18, 20), (20, 20)]
    assert [len(items) for items, _ in read_parquet(tmp_path / "g.parquet", batch_rows=4)] == [4] * 5


def test_files_of_a_folder_are_imported_together(tmp_path: Path) -> None:
    for number in range(3):
        export_gallery(filled(10 + number, seed=number), tmp_path / f"part-{number}.parquet")
    (tmp_path / ".part-3.parquet.17-1.partial").write_bytes(b"left by a writer that was killed")
    (tmp_path / "failed.jsonl").write_text("{}\n")
    target = MemoryGallery(FINGERPRINT, DIM)
    seen: list[tuple[int, int]] = []
    assert import_gallery([tmp_path], target, progress=lambda done, total: seen.append((done, total))) == 33
    assert seen == [(10, 33), (21, 33), (33, 33)]
    assert contents(target) == contents(filled(10)) | contents(filled(11, 1)) | contents(filled(12, 2))


def test_a_file_is_replaced_only_by_a_whole_one(tmp_path: Path) -> None:
    out = tmp_path / "g.parquet"
    export_gallery(filled(5), out)
    before = out.read_bytes()

    def batches() -> Iterator[Any]:
        yield made_up_items(5), unit_vectors(5)
        raise InputError("an item was removed meanwhile")

    with pytest.raises(InputError, match="meanwhile"):
        write_parquet(out, batches(), EmbeddingOrigin(FINGERPRINT, DIM, "fp32"))
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["g.parquet"]
    export_gallery(filled(6), out)
    assert pq.read_metadata(out).num_rows == 6


@pytest.mark.parametrize(
    "item",
    [GalleryItem("a\udc80"), GalleryItem("a", box=(2**31, 0, 1, 1)), GalleryItem("a", size=2**63)],
    ids=["surrogate", "box", "size"],
)
def test_what_cannot_be_written(item: GalleryItem, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="an item cannot be written") as caught:
        write_parquet(tmp_path / "g.parquet", [([item], unit_vectors(1))], EmbeddingOrigin(FINGERPRINT, DIM, "fp32"))
    assert "\n" not in str(caught.value)
    with pytest.raises(SalError, match=r"nowhere/g\.parquet: cannot be written \(No such file"):
        export_gallery(filled(1), tmp_path / "nowhere" / "g.parquet")
    assert list(tmp_path.iterdir()) == []


def rewritten(path: Path, change: Callable[[pa.Table], pa.Table]) -> Path:
    pq.write_table(change(pq.read_table(path)), path)
    return path


def noted(key: bytes, value: bytes | None) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        notes = {**table.schema.metadata, key: value}
        return table.replace_schema_metadata({key: value for key, value in notes.items() if value is not None})

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (noted(b"sal.fingerprint", b"e" * 64), r"embeddings of bundle unknown \(eeeeeeeeeeee\) with 8 numbers in fp32"),
        (noted(b"sal.precision", b"int8"), "8 numbers in int8, gallery memory holds those of bundle"),
        (noted(b"sal.format_version", b"2"), "format 2, this version of sal reads 1"),
        (noted(b"sal.embedding_dim", b"9"), "columns are not those of a gallery"),
        (noted(b"sal.embedding_dim", b"many"), "not a gallery"),
        (noted(b"sal.fingerprint", None), "not a gallery"),
        (lambda table: table.replace_schema_metadata(None), "not a gallery"),
        (lambda table: table.drop_columns("camera"), "columns are not those"),
        (lambda table: table.set_column(2, "size", table["size"].cast(pa.int32())), "columns are not those"),
    ],
)
def test_other_files_are_refused_before_anything_is_added(
    change: Callable[[pa.Table], pa.Table], message: str, tmp_path: Path
) -> None:
    export_gallery(filled(3), tmp_path / "a.parquet")
    export_gallery(filled(3), tmp_path / "b.parquet")
    rewritten(tmp_path / "b.parquet", change)
    target = MemoryGallery(FINGERPRINT, DIM)
    with pytest.raises(InputError, match=message) as caught:
        import_gallery([tmp_path], target)
    assert "b.parquet" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(target) == 0


def test_vectors_that_are_not_of_length_one_are_refused(tmp_path: Path) -> None:
    origin = EmbeddingOrigin(FINGERPRINT, DIM, "fp32")
    write_parquet(tmp_path / "g.parquet", [(made_up_items(2), 2 * unit_vectors(2))], origin)
    with pytest.raises(InputError, match="got an embedding of length 2"):
        import_gallery([tmp_path / "g.parquet"], MemoryGallery(FINGERPRINT, DIM))


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    target = MemoryGallery(FINGERPRINT, DIM)
    (tmp_path / "text.parquet").write_text("hello, I am a text file")
    (tmp_path / "empty.parquet").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for name, message in [
        ("text.parquet", "is damaged, or not a Parquet file"),
        ("empty.parquet", "is damaged, or not a Parquet file"),
        ("none.parquet", "there is no such file"),
        ("folder", r"holds no \.parquet file"),
    ]:
        with pytest.raises(InputError, match=f"{name}: {message}"):
            import_gallery([tmp_path / name], target)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "g.parquet"
    export_gallery(filled(40), out)
    return out


@settings(max_examples=300, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_damage_is_found(whole: Path, place: float, bit: int, cut: bool) -> None:
    data = bytearray(whole.read_bytes())
    position = int(place * len(data))
    if cut:
        del data[position:]
    else:
        data[position] ^= 1 << bit
    damaged = whole.with_name("damaged.parquet")
    damaged.write_bytes(data)
    target = MemoryGallery(FINGERPRINT, DIM)
    try:
        import_gallery([damaged], target)
    except InputError as error:
        message = str(error)
    else:
        message = ""
        assert contents(target) == contents(filled(40))
    assert "\n" not in message
    assert message or not cut


def test_the_extra_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BackendError, match=r'in the checkout of sal: `pip install "\.\[arrow\]"`'):
        export_gallery(filled(1), tmp_path / "g.parquet")
