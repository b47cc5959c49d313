"""Galleries as Parquet files: from one kind of gallery to another, and to whatever else reads Parquet.

One row an item, one column for each field of `GalleryItem`, and `embedding`, a list of d float32. The key-value
metadata of the file says which bundle made the embeddings; docs/scaling.md lists it all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sal_runtime.arrays import Float32Array, Progress
from sal_runtime.errors import BackendError, InputError, SalError
from sal_runtime.files import sync_directory
from sal_runtime.gallery.items import GalleryItem

if TYPE_CHECKING:
    from sal_runtime.gallery.protocol import SearchableGallery

Batch = tuple[Sequence[GalleryItem], Float32Array]

FORMAT_VERSION = "1"
"""Of the columns above."""
BATCH_ROWS = 4096
"""Items in memory at a time; those of one row group at most."""
_PREFIX = "sal."


@dataclass(frozen=True)
class Stamp:
    """What the embeddings of a file are.

    Attributes:
        fingerprint: of the bundle that made them.
        embedding_dim: d.
        precision: of the image encoder: fp32, fp16 or int8.
        bundle_name: for people; empty where it is not known.
    """

    fingerprint: str
    embedding_dim: int
    precision: str
    bundle_name: str = ""


def export_gallery(gallery: SearchableGallery, out: Path, progress: Progress | None = None) -> int:
    """Write all items of a gallery to one Parquet file; a file that is there is replaced when the new one is whole.

    Args:
        gallery: open; nothing may be removed from it meanwhile.
        out: by custom ends in `.parquet`.
        progress: called with the number of items written and of all.

    Returns:
        The number of items.

    Raises:
        BackendError: pyarrow is not installed.
        InputError: an item cannot be written, or was removed meanwhile.
        SalError: the file cannot be written.
    """
    total = len(gallery)

    def batches() -> Iterator[Batch]:
        done = 0
        for ids, embeddings in gallery.chunks():
            for start in range(0, len(ids), BATCH_ROWS):
                part = ids[start : start + BATCH_ROWS]
                yield gallery.items(part), embeddings[start : start + BATCH_ROWS]
                done += len(part)
                if progress is not None:
                    progress(done, total)

    return write_parquet(
        out, batches(), Stamp(gallery.fingerprint, gallery.embedding_dim, gallery.precision, gallery.bundle_name)
    )


def read_stamp(sources: Sequence[Path]) -> Stamp:
    """By which encoder the embeddings of Parquet files were made, as the first of them says.

    Raises:
        BackendError: pyarrow is not installed.
        InputError: there is no file, or it is damaged or no gallery.
    """
    arrow = _arrow()
    file = _files(sources[0])[0]
    with _reading(file), arrow.parquet.ParquetFile(file) as opened:
        return _read_stamp(file, opened)


def import_gallery(sources: Sequence[Path], gallery: SearchableGallery, progress: Progress | None = None) -> int:
    """Add the items of Parquet files to a gallery; items whose uris are known are replaced.

    All files are looked at before the first item is added. After an error some may have been added; importing the same
    again makes it whole.

    Args:
        sources: files, or folders of files that end in `.parquet`.
        gallery: open for writing.
        progress: called with the number of items added and of all.

    Returns:
        The number of items read.

    Raises:
        BackendError: pyarrow is not installed.
        InputError: a file is missing, damaged, no gallery, of another format version, or of another bundle.
        SalError: writing failed.
    """
    arrow = _arrow()
    files = [file for source in sources for file in _files(source)]
    total = 0
    for file in files:
        with _reading(file), arrow.parquet.ParquetFile(file) as opened:
            _check_fits(file, _read_stamp(file, opened), gallery)
            total += opened.metadata.num_rows
    done = 0
    for file in files:
        for items, embeddings in read_parquet(file):
            gallery.add(items, embeddings)
            done += len(items)
            if progress is not None:
                progress(done, total)
    return done


def write_parquet(out: Path, batches: Iterable[Batch], stamp: Stamp, notes: Callable[[], dict[str, str]] = dict) -> int:
    """Write batches of items with their embeddings float32 `[n, d]`; the file appears under its name when it is whole.

    Args:
        out: the file.
        batches: up to `BATCH_ROWS` items each; every one becomes a row group.
        stamp: of the embeddings.
        notes: asked when all is written for what else the file's metadata is to say.

    Returns:
        The number of items.

    Raises:
        BackendError: pyarrow is not installed.
        InputError: an item cannot be written.
        SalError: the file cannot be written.
    """
    arrow = _arrow()
    schema = _schema(stamp)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    count = 0
    try:
        with temporary.open("wb") as file:
            with arrow.parquet.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
                for items, embeddings in batches:
                    writer.write_table(_table(items, embeddings, schema))
                    count += len(items)
                writer.add_key_value_metadata({_PREFIX + key: value for key, value in notes().items()})
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(out)
        sync_directory(out.parent)
    except OSError as error:
        raise SalError(f"{out}: cannot be written ({error.strerror or error})") from error
    except (arrow.ArrowException, UnicodeEncodeError, OverflowError) as error:
        raise InputError(f"{out}: an item cannot be written ({_first_line(error)})") from error
    finally:
        temporary.unlink(missing_ok=True)
    return count


def read_parquet(file: Path) -> Iterator[tuple[list[GalleryItem], Float32Array]]:
    """The items of a file that `write_parquet` wrote, and their embeddings float32 `[n, d]`, a part at a time.

    Raises:
        BackendError: pyarrow is not installed.
        InputError: the file is missing, damaged, no gallery, or of another format version.
    """
    arrow = _arrow()
    with _reading(file), arrow.parquet.ParquetFile(file, page_checksum_verification=True) as opened:
        dim = _read_stamp(file, opened).embedding_dim
        batches = opened.iter_batches(BATCH_ROWS)
        while (batch := next(batches, None)) is not None:
            embeddings = batch.column("embedding").flatten().to_numpy(zero_copy_only=False)
            items = [_item(row) for row in batch.drop_columns("embedding").to_pylist()]
            yield items, np.asarray(embeddings, dtype=np.float32).reshape(len(items), dim)


def read_notes(file: Path) -> dict[str, str]:
    """What the metadata of a file that `write_parquet` wrote says: the stamp, the format version and the notes.

    Raises:
        BackendError: pyarrow is not installed.
        InputError: the file is missing, damaged, no gallery, or of another format version.
    """
    arrow = _arrow()
    with _reading(file), arrow.parquet.ParquetFile(file) as opened:
        _read_stamp(file, opened)
        return _metadata(opened)


def _arrow() -> Any:
    """The module pyarrow, with its `parquet`."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise BackendError(f'Parquet files need pyarrow ({error}); pip install "sal-person-search[arrow]"') from error
    return pyarrow


def _schema(stamp: Stamp) -> Any:
    pa = _arrow()
    values = {key: str(value) for key, value in vars(stamp).items()} | {"format_version": FORMAT_VERSION}
    return pa.schema(
        [
            pa.field("uri", pa.string(), nullable=False),
            pa.field("content_hash", pa.string()),
            pa.field("size", pa.int64()),
            pa.field("mtime_ns", pa.int64()),
            pa.field("camera", pa.string()),
            pa.field("captured_at", pa.float64()),
            pa.field("track", pa.string()),
            pa.field("box", pa.list_(pa.int32(), 4)),
            pa.field("metadata", pa.map_(pa.string(), pa.string()), nullable=False),
            pa.field("embedding", pa.list_(pa.float32(), stamp.embedding_dim), nullable=False),
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


def _metadata(opened: Any) -> dict[str, str]:
    pairs = (opened.metadata.metadata or {}).items()
    return {
        key.decode().removeprefix(_PREFIX): value.decode() for key, value in pairs if key.startswith(_PREFIX.encode())
    }


def _read_stamp(file: Path, opened: Any) -> Stamp:
    found = _metadata(opened)
    if found.get("format_version", FORMAT_VERSION) != FORMAT_VERSION:
        raise InputError(
            f"{file}: is of gallery format {found['format_version']}, this version of sal reads {FORMAT_VERSION}; use "
            "the version of sal that made it"
        )
    try:
        dim = int(found["embedding_dim"])
        stamp = Stamp(found["fingerprint"], dim, found["precision"], found["bundle_name"])
    except (KeyError, ValueError):
        raise InputError(f"{file}: is a Parquet file, but no gallery; `export_gallery` writes one") from None
    if not opened.schema_arrow.equals(_schema(stamp), check_metadata=False):
        raise InputError(f"{file}: its columns are not those of a gallery; export it again")
    return stamp


def _check_fits(file: Path, stamp: Stamp, gallery: SearchableGallery) -> None:
    expected = (gallery.fingerprint, gallery.embedding_dim, gallery.precision)
    if (stamp.fingerprint, stamp.embedding_dim, stamp.precision) != expected:
        made, wanted = _made_by(stamp), _made_by(gallery)
        raise InputError(
            f"{file}: got embeddings of {made}, gallery {gallery.title} is of {wanted}; "
            "import it into a gallery of its own"
        )


def _made_by(one: Stamp | SearchableGallery) -> str:
    name = one.bundle_name or "unknown"
    return f"bundle {name} ({one.fingerprint[:12]}) with {one.embedding_dim} numbers in {one.precision}"


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    found = sorted(path for path in source.glob("*.parquet") if not path.name.startswith("."))
    if not found:
        raise InputError(f"{source}: holds no .parquet file")
    return found


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    arrow = _arrow()
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{file}: there is no such file") from error
    except (OSError, arrow.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"{file}: is damaged, or no Parquet file ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
