"""The collection of a gallery in Milvus: how it is reached and made, its stamp, its rows, and its errors for people."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from sal_runtime.errors import BackendError, InputError, SalError
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.gallery.milvus.expression import restore_metadata, store_metadata

if TYPE_CHECKING:
    from sal_runtime.bundle.bundle import Bundle

FORMAT_VERSION = "1"
"""Of the fields below."""
CALL_SECONDS = 60.0
"""After which a call is given up; without it, pymilvus asks a server that is gone again and again for minutes."""
COMPACTION_SECONDS = 24 * 3600.0
ITEM_FIELDS = ["id", "uri", "content_hash", "size", "mtime_ns", "camera", "captured_at", "track", "box", "metadata"]

_STAMP = ("format_version", "fingerprint", "embedding_dim", "precision", "bundle_name")
"""Kept as properties of the collection, each with this before it:"""
_PREFIX = "sal."
_MAX_TEXT = 65_535
"""Bytes of a text; the most that Milvus takes."""


def is_embedded(address: str) -> bool:
    """Whether an address is a local name rather than a server's."""
    return "://" not in address


def without_credentials(address: str) -> str:
    """An address that may be shown: `http://user:password@host` without what stands before the host."""
    if is_embedded(address):
        return address
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def connect(address: str, token: str | None) -> Any:
    """A `pymilvus.MilvusClient`.

    Raises:
        BackendError: pymilvus, or for a local address its embedded edition, is not installed.
        InputError: the address is none.
        SalError: the server cannot be reached, or refuses.
    """
    if is_embedded(address) and not (address.endswith(".db") and Path(address).parent.is_dir()):
        raise InputError(
            f"got the Milvus address {address}, expected http://HOST:19530, or for the embedded edition a name that "
            "ends in .db, in a folder that exists"
        )
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise BackendError(
            f'a gallery in Milvus needs pymilvus ({error}); pip install "sal-person-search[milvus]"'
        ) from error
    if is_embedded(address) and importlib.util.find_spec("milvus_lite") is None:
        raise BackendError(f"{address}: the embedded edition of Milvus needs milvus-lite; pip install milvus-lite")
    for name in ("pymilvus", "pymilvus.milvus_client", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they print a traceback for what is raised as an error too
    with explained(without_credentials(address)):
        return MilvusClient(address, token=token or "", timeout=CALL_SECONDS)


@contextmanager
def explained(title: str) -> Iterator[None]:
    """Turn what pymilvus raises into one line about the gallery `title`.

    Raises:
        SalError: the server refused or did not answer.
        InputError: a text is no valid Unicode.
    """
    from grpc import RpcError
    from pymilvus import MilvusException

    try:
        yield
    except (MilvusException, RpcError) as error:
        reason = " ".join(str(getattr(error, "message", None) or error).split())
        raise SalError(f"gallery {title}: Milvus did not do it: {reason}") from error
    except UnicodeEncodeError as error:
        raise InputError(f"gallery {title}: got {error.object!r}, expected text that is valid Unicode") from error


def create_collection(client: Any, name: str, bundle: Bundle, precision: str) -> None:
    """Make the empty collection of a gallery, stamped and with its indexes."""
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("uri", DataType.VARCHAR, max_length=_MAX_TEXT)
    for field in ("content_hash", "camera", "track"):
        schema.add_field(field, DataType.VARCHAR, max_length=_MAX_TEXT, nullable=True)
    for field in ("size", "mtime_ns"):
        schema.add_field(field, DataType.INT64, nullable=True)
    schema.add_field("captured_at", DataType.DOUBLE, nullable=True)
    schema.add_field("box", DataType.JSON, nullable=True)
    schema.add_field("metadata", DataType.JSON)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=bundle.embedding_dim)
    indexes = client.prepare_index_params()
    indexes.add_index("embedding", index_type="FLAT", metric_type="IP")
    for field in ("camera", "track", "captured_at"):
        indexes.add_index(field, index_type="INVERTED")
    values = (FORMAT_VERSION, bundle.fingerprint, str(bundle.embedding_dim), precision, bundle.name)
    client.create_collection(
        name,
        schema=schema,
        index_params=indexes,
        consistency_level="Strong",
        properties={_PREFIX + key: value for key, value in zip(_STAMP, values, strict=True)},
        timeout=CALL_SECONDS,
    )


def read_stamp(client: Any, name: str, title: str) -> dict[str, str]:
    """What a collection says of itself: format version, fingerprint, embedding dimension, precision, bundle name.

    Raises:
        InputError: it is no gallery, or of another format version.
    """
    properties = client.describe_collection(name, timeout=CALL_SECONDS).get("properties", {})
    stamp = {key: properties[_PREFIX + key] for key in _STAMP if _PREFIX + key in properties}
    if len(stamp) < len(_STAMP):
        raise InputError(f"{title}: is a collection, but no gallery of sal; choose another one")
    if stamp["format_version"] != FORMAT_VERSION:
        raise InputError(
            f"{title}: is of gallery format {stamp['format_version']}, this version of sal reads {FORMAT_VERSION}; use "
            "the version of sal that made it"
        )
    return stamp


def item_id(uri: str) -> int:
    """The primary key of an item: 63 bits of the BLAKE2b hash of its uri."""
    return int.from_bytes(hashlib.blake2b(uri.encode(), digest_size=8).digest(), "big") >> 1


def check_hashes(uris: Sequence[str], known: Mapping[int, str], title: str) -> None:
    """Refuse uris whose id is that of another uri, among themselves or of those that are there.

    Args:
        uris: that are to be written.
        known: uris that are there, by id.
        title: of the gallery.

    Raises:
        InputError: there are two uris with one id.
    """
    by_id = dict(known)
    for uri in uris:
        there = by_id.setdefault(item_id(uri), uri)
        if there != uri:
            raise InputError(f"gallery {title}: the uris {there} and {uri} have the same hash; rename one of the two")


def compact(client: Any, name: str, title: str) -> None:
    """Have the server write the files of a collection anew without what was deleted, and wait until it has.

    Raises:
        SalError: it has not ended within a day.
    """
    client.flush(name)
    for deletes_first in (True, False):  # what was deleted must reach its segments before they are rewritten
        job = client.compact(name, is_l0=deletes_first, timeout=CALL_SECONDS)
        give_up = time.monotonic() + COMPACTION_SECONDS
        while client.get_compaction_state(job, timeout=CALL_SECONDS) != "Completed":
            if time.monotonic() > give_up:
                raise SalError(f"gallery {title}: compaction {job} has not ended within a day; look at the server")
            time.sleep(1.0)


def row_of_item(item: GalleryItem, vector: NDArray[np.float32]) -> dict[str, Any]:
    """An item as Milvus takes it."""
    return {
        "id": item_id(item.uri),
        **{field: getattr(item, field) for field in ITEM_FIELDS[1:-2]},
        "box": None if item.box is None else list(item.box),
        "metadata": store_metadata(item.metadata),
        "embedding": vector,
    }


def item_from_row(row: Mapping[str, Any]) -> GalleryItem:
    """The item that `row_of_item` was given."""
    known = {field: row[field] for field in ITEM_FIELDS[1:-2]}
    box = None if row["box"] is None else tuple(row["box"])
    return GalleryItem(**known, box=box, metadata=restore_metadata(row["metadata"]))
