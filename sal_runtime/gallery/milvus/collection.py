"""The collection of a gallery in Milvus: connecting, creating, its properties, its rows, and its errors for people."""

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

from sal_runtime.arrays import Float32Array
from sal_runtime.errors import BackendError, InputError, SalError, install
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.gallery.milvus.expression import restore_metadata, store_metadata

if TYPE_CHECKING:
    from sal_runtime.bundle.bundle import Bundle

FORMAT_VERSION = "1"
"""Version of the fields below."""
CALL_SECONDS = 60.0
"""Time limit of a call; without it, pymilvus asks a server that does not answer again and again for minutes."""
COMPACTION_SECONDS = 24 * 3600.0
"""Time limit of a compaction."""
ITEM_FIELDS = ["id", "uri", "content_hash", "size", "mtime_ns", "camera", "captured_at", "track", "box", "metadata"]

_PROPERTIES = ("format_version", "fingerprint", "embedding_dim", "precision", "bundle_name")
"""Properties of the collection, stored with this prefix:"""
_PREFIX = "sal."
_MAX_TEXT = 65_535
"""Bytes; the longest text that Milvus takes."""


def is_embedded(address: str) -> bool:
    """Whether an address is a local file of the embedded edition, not a server."""
    return "://" not in address


def without_credentials(address: str) -> str:
    """The address `http://user:password@host` without user and password, to be shown to people."""
    if is_embedded(address):
        return address
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def connect(address: str, token: str | None) -> Any:
    """A `pymilvus.MilvusClient`.

    Raises:
        BackendError: pymilvus, or for a local address its embedded edition, is not installed.
        InputError: the address is not valid.
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
        raise BackendError(f"a gallery in Milvus needs pymilvus ({error}); {install('milvus')}") from error
    if is_embedded(address) and importlib.util.find_spec("milvus_lite") is None:
        raise BackendError(f"{address}: the embedded edition of Milvus needs milvus-lite; pip install milvus-lite")
    for name in ("pymilvus", "pymilvus.milvus_client", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they print a traceback of every error that they raise
    with milvus_errors(without_credentials(address)):
        return MilvusClient(address, token=token or "", timeout=CALL_SECONDS)


@contextmanager
def milvus_errors(title: str) -> Iterator[None]:
    """Turn errors of pymilvus into one line about the gallery `title`.

    Raises:
        SalError: the server refused or did not answer.
        InputError: a text is not valid Unicode.
    """
    from grpc import RpcError
    from pymilvus import MilvusException

    try:
        yield
    except (MilvusException, RpcError) as error:
        reason = " ".join(str(getattr(error, "message", None) or error).split())
        raise SalError(f"gallery {title}: Milvus failed: {reason}") from error
    except UnicodeEncodeError as error:
        raise InputError(f"gallery {title}: got {error.object!r}, expected text that is valid Unicode") from error


def create_collection(client: Any, name: str, bundle: Bundle, precision: str) -> None:
    """Make the empty collection of a gallery, with its properties and indexes."""
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
        properties={_PREFIX + key: value for key, value in zip(_PROPERTIES, values, strict=True)},
        timeout=CALL_SECONDS,
    )


def read_properties(client: Any, name: str, title: str) -> dict[str, str]:
    """Format version, fingerprint, embedding dimension, precision and bundle name of a collection, text by key.

    Raises:
        InputError: it is not a gallery, or of another format version.
    """
    stored = client.describe_collection(name, timeout=CALL_SECONDS).get("properties", {})
    properties = {key: stored[_PREFIX + key] for key in _PROPERTIES if _PREFIX + key in stored}
    if len(properties) < len(_PROPERTIES):
        raise InputError(f"{title}: is a collection, but not a gallery of sal; choose another one")
    if properties["format_version"] != FORMAT_VERSION:
        raise InputError(
            f"{title}: gallery format {properties['format_version']}, this version of sal reads {FORMAT_VERSION}; use "
            "the version of sal that made it"
        )
    return properties


def item_id(uri: str) -> int:
    """The primary key of an item: 63 bits of the BLAKE2b hash of its uri."""
    return int.from_bytes(hashlib.blake2b(uri.encode(), digest_size=8).digest(), "big") >> 1


def check_hashes(uris: Sequence[str], known: Mapping[int, str], title: str) -> None:
    """Refuse uris that share an id with each other, or with a uri in the gallery (`known`, by id).

    Raises:
        InputError: two uris have one id.
    """
    by_id = dict(known)
    for uri in uris:
        other = by_id.setdefault(item_id(uri), uri)
        if other != uri:
            raise InputError(f"gallery {title}: the uris {other} and {uri} have the same hash; rename one of the two")


def compact(client: Any, name: str, title: str) -> None:
    """Make the server rewrite the files of a collection without deleted rows, and wait until it has.

    Raises:
        SalError: it took longer than a day.
    """
    client.flush(name)
    for deletes_first in (True, False):  # deletions must reach the segments before these are rewritten
        job = client.compact(name, is_l0=deletes_first, timeout=CALL_SECONDS)
        give_up = time.monotonic() + COMPACTION_SECONDS
        while client.get_compaction_state(job, timeout=CALL_SECONDS) != "Completed":
            if time.monotonic() > give_up:
                raise SalError(f"gallery {title}: compaction {job} has not ended within a day; look at the server")
            time.sleep(1.0)


def row_of_item(item: GalleryItem, vector: Float32Array) -> dict[str, Any]:
    """An item as a row of the collection."""
    return {
        "id": item_id(item.uri),
        **{field: getattr(item, field) for field in ITEM_FIELDS[1:-2]},
        "box": None if item.box is None else list(item.box),
        "metadata": store_metadata(item.metadata),
        "embedding": vector,
    }


def item_from_row(row: Mapping[str, Any]) -> GalleryItem:
    """The inverse of `row_of_item`."""
    known = {field: row[field] for field in ITEM_FIELDS[1:-2]}
    box = None if row["box"] is None else tuple(row["box"])
    return GalleryItem(**known, box=box, metadata=restore_metadata(row["metadata"]))
