"""Galleries as Parquet files: from one kind of gallery to another, and to any program that reads Parquet.

A row is an item, with a column for each field of `GalleryItem` and `embedding`, a list of d float32. The key-value
metadata of the file says which bundle made the embeddings; docs/scaling.md describes the format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sal_runtime.arrays import Float32Array, Progress
from sal_runtime.errors import BackendError, InputError, SalError, first_line, install
from sal_runtime.files import whole_file
from sal_runtime.gallery.items import GalleryItem

if TYPE_CHECKING:
    from sal_runtime.gallery.protocol import SearchableGallery

Batch = tuple[Sequence[GalleryItem], Float32Array]

FORMAT_VERSION = "1"
"""Version of the columns and the key-value metadata."""
BATCH_ROWS = 4096
"""Items in memory at a time, and most items of a row group."""
_PREFIX = "sal."


@dataclass(frozen=True)
class EmbeddingOrigin:
    """Which encoder made the embeddings of a file.

    Attributes:
        fingerprint: identifies the bundle.
        embedding_dim: d.
        precision: precision of the image encoder: fp32, fp16 or int8.
        bundle_name: name of the bundle, for people; empty if not known.
    """

    fingerprint: str
    embedding_dim: int
    precision: str
    bundle_name: str = ""


def export_gallery(
    gallery: SearchableGallery, out: Path, progress: Progress | None = None, batch_rows: int = BATCH_ROWS
) -> int:
    """Write all items of a gallery to one Parquet file, replaced when it is whole, and return their number.

    Args:
        gallery: an open gallery; nothing may be removed from it meanwhile.
        out: the file; by custom its name ends in `.parquet`.
        progress: called with the number of items written, and of all items.
        batch_rows: most items of a row group.

    Raises:
        BackendError: pyarrow is not installed.
        InputError: an item cannot be written, or was removed meanwhile.
        SalError: the file cannot be written.
    """
    total = len(gallery)

    def batches() -> Iterator[Batch]:
        done = 0
        for ids, embeddings in gallery.chunks():
            for start in range(0, len(ids), batch_rows):
                part = ids[start : start + batch_rows]
                yield gallery.items(part), embeddings[start : start + batch_rows]
                done += len(part)
                if progress is not None:
                    progress(done, total)

    origin = EmbeddingOrigin(gallery.fingerprint, gallery.embedding_dim, gallery.precision, gallery.bundle_name)
    return write_parquet(out, batches(), origin)


def read_origin(sources: Sequence[Path]) -> EmbeddingOrigin:
    """Read which encoder made the embeddings of Parquet files, from the first of them.

    Args:
        sources: files, or folders of files that end in `.parquet`.

    Raises:
        BackendError: pyarrow is not installed.
        InputError: there is no file, or it is damaged or not a gallery.
    """
    with _opened(_files(sources[0])[0]) as (_, origin):
        return origin


def import_gallery(sources: Sequence[Path], gallery: SearchableGallery, progress: Progress | None = None) -> int:
    """Add the items of Parquet files to a gallery and return their number; items with known uris are replaced.

    Items whose image was removed from the gallery (by its content hash) stay out, and are not counted.

    The metadata of all files is checked before the first item is added. After a later error some items may have been
    added; importing the same files again completes the gallery.

    Args:
        sources: files, or folders of files that end in `.parquet`.
        gallery: a gallery open for writing.
        progress: called with the number of items added, and of all items.

    Raises:
        BackendError: pyarrow is not installed.
        InputError: a file is missing, damaged, not a gallery, or of another format version, bundle or precision.
        SalError: writing failed.
    """
    files = [file for source in sources for file in _files(source)]
    total = 0
    for file in files:
        with _opened(file) as (parquet, origin):
            _check_fits(file, origin, gallery)
            total += parquet.metadata.num_rows
    done = added = 0
    for file in files:
        for items, embeddings in read_parquet(file):
            out = gallery.held_back(item.content_hash for item in items)
            kept = [row for row, item in enumerate(items) if item.content_hash not in out]
            gallery.add([items[row] for row in kept], embeddings[kept])
            done, added = done + len(items), added + len(kept)
            if progress is not None:
                progress(done, total)
    return added


def write_parquet(
    out: Path, batches: Iterable[Batch], origin: EmbeddingOrigin, notes: Callable[[], dict[str, str]] = dict
) -> int:
    """Write items with their embeddings float32 `[n, d]` and return their number; the file appears when it is whole.

    Args:
        out: the file.
        batches: up to `BATCH_ROWS` items each; every batch becomes a row group.
        origin: the encoder of the embeddings.
        notes: called after the last batch; returns more entries for the key-value metadata.

    Raises:
        BackendError: pyarrow is not installed.
        InputError: an item cannot be written.
        SalError: the file cannot be written.
    """
    arrow = _arrow()
    schema = _schema(origin)
    count = 0
    try:
        with (
            whole_file(out) as temporary,
            temporary.open("wb") as file,
            arrow.parquet.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer,
        ):
            for items, embeddings in batches:
                writer.write_table(_table(items, embeddings, schema))
                count += len(items)
            writer.add_key_value_metadata({_PREFIX + key: value for key, value in notes().items()})
    except OSError as error:
        raise SalError(f"{out}: cannot be written ({error.strerror or error})") from error
    except (arrow.ArrowException, UnicodeEncodeError, OverflowError) as error:
        raise InputError(f"{out}: an item cannot be written ({first_line(error)})") from error
    return count


def read_parquet(file: Path, batch_rows: int = BATCH_ROWS) -> Iterator[tuple[list[GalleryItem], Float32Array]]:
    """Read a file that `write_parquet` wrote: items and their embeddings float32 `[n, d]`, `batch_rows` at a time.

    Raises:
        BackendError: pyarrow is not installed.
        InputError: the file is missing, damaged, not a gallery, or of another format version.
    """
    with _opened(file) as (parquet, origin):
        for batch in parquet.iter_batches(batch_rows):
            embeddings = batch.column("embedding").flatten().to_numpy(zero_copy_only=False)
            items = [_item(row) for row in batch.drop_columns("embedding").to_pylist()]
            yield items, np.asarray(embeddings, dtype=np.float32).reshape(len(items), origin.embedding_dim)


def read_notes(file: Path) -> dict[str, str]:
    """The key-value metadata of a file that `write_parquet` wrote: origin, format version and notes.

    Raises:
        BackendError: pyarrow is not installed.
        InputError: the file is missing, damaged, not a gallery, or of another format version.
    """
    with _opened(file) as (parquet, _):
        return _metadata(parquet)


def _arrow() -> Any:
    """The module pyarrow, with its `parquet`."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise BackendError(f"Parquet files need pyarrow ({error}); {install('arrow')}") from error
    return pyarrow


def _schema(origin: EmbeddingOrigin) -> Any:
    pa = _arrow()
    values = {key: str(value) for key, value in vars(origin).items()} | {"format_version": FORMAT_VERSION}
    return pa.schema(
        [
            pa.field("uri", pa.string(), nullable=False),
            pa.field("content_hash", pa.string()),
            pa.field("size", pa.int64()),
            pa.field("mtime_ns", pa.int64()),
            pa.field("camera", pa.string()),
            pa.field("captured_at", pa.float64()),
            pa.field("track", pa.string()),
            pa.field("box", pa.list_(pa.int32())),  # a fixed size with nulls cannot be read back before pyarrow 26
            pa.field("metadata", pa.map_(pa.string(), pa.string()), nullable=False),
            pa.field("embedding", pa.list_(pa.float32(), origin.embedding_dim), nullable=False),
        ],
        metadata={_PREFIX + key: value for key, value in values.items()},
    )


def _table(items: Sequence[GalleryItem], embeddings: Float32Array, schema: Any) -> Any:
    pa = _arrow()
    columns = [
        pa.array([getattr(item, field.name) for item in items], field.type)
        for field in schema
        if field.name not in ("metadata", "embedding")
    ]
    metadata = [sorted(item.metadata.items()) for item in items]
    columns.append(pa.array(metadata, schema.field("metadata").type))
    numbers = pa.array(np.ascontiguousarray(embeddings, dtype=np.float32).reshape(-1))
    columns.append(pa.FixedSizeListArray.from_arrays(numbers, type=schema.field("embedding").type))
    return pa.Table.from_arrays(columns, schema=schema)


def _item(row: dict[str, Any]) -> GalleryItem:
    box = None if row["box"] is None else tuple(row["box"])
    return GalleryItem(**{**row, "box": box, "metadata": dict(row["metadata"])})


def _metadata(parquet: Any) -> dict[str, str]:
    pairs = (parquet.metadata.metadata or {}).items()
    return {
        key.decode().removeprefix(_PREFIX): value.decode() for key, value in pairs if key.startswith(_PREFIX.encode())
    }


def _read_origin(file: Path, parquet: Any) -> EmbeddingOrigin:
    found = _metadata(parquet)
    if found.get("format_version", FORMAT_VERSION) != FORMAT_VERSION:
        raise InputError(
            f"{file}: gallery format {found['format_version']}, this version of sal reads {FORMAT_VERSION}; use the "
            "version of sal that made it"
        )
    try:
        dim = int(found["embedding_dim"])
        origin = EmbeddingOrigin(found["fingerprint"], dim, found["precision"], found["bundle_name"])
    except (KeyError, ValueError):
        raise InputError(f"{file}: is a Parquet file, but not a gallery; `export_gallery` writes one") from None
    if not parquet.schema_arrow.equals(_schema(origin), check_metadata=False):
        raise InputError(f"{file}: its columns are not those of a gallery; export it again")
    return origin


def _check_fits(file: Path, origin: EmbeddingOrigin, gallery: SearchableGallery) -> None:
    expected = (gallery.fingerprint, gallery.embedding_dim, gallery.precision)
    if (origin.fingerprint, origin.embedding_dim, origin.precision) != expected:
        raise InputError(
            f"{file}: got embeddings of {_described(origin)}, gallery {gallery.title} holds those of "
            f"{_described(gallery)}; import it into a gallery of its own"
        )


def _described(origin: EmbeddingOrigin | SearchableGallery) -> str:
    name = origin.bundle_name or "unknown"
    return f"bundle {name} ({origin.fingerprint[:12]}) with {origin.embedding_dim} numbers in {origin.precision}"


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    found = sorted(path for path in source.glob("*.parquet") if not path.name.startswith("."))
    if not found:
        raise InputError(f"{source}: holds no .parquet file")
    return found


@contextmanager
def _opened(file: Path) -> Iterator[tuple[Any, EmbeddingOrigin]]:
    """A gallery as `pyarrow.parquet.ParquetFile`, and its origin; errors of reading it become one line for people."""
    arrow = _arrow()
    try:
        with arrow.parquet.ParquetFile(file, page_checksum_verification=True) as parquet:
            yield parquet, _read_origin(file, parquet)
    except FileNotFoundError as error:
        raise InputError(f"{file}: there is no such file") from error
    except (OSError, arrow.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"{file}: is damaged, or not a Parquet file ({first_line(error)})") from error
