"""A gallery in Milvus: for more items than one machine can hold, or than one process should serve.

    with MilvusGallery.create("http://milvus.example:19530", "yard", bundle, token="user:password") as gallery:
        gallery.add([GalleryItem(uri="cam1/0001.jpg", camera="cam1")], embeddings)

One collection with one row an item. Search is exact: the index is FLAT. The primary key is a hash of the uri, so that
any number of processes may add the same items, twice or at once, and each is there once. All reads ask for the
consistency level Strong: what has been written is found. docs/scaling.md says what removal means for the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sal_runtime.arrays import Float32Array, Int64Array, batched
from sal_runtime.errors import InputError, SalError
from sal_runtime.gallery.items import GalleryItem, Neighbours, check_embeddings
from sal_runtime.gallery.milvus.collection import (
    CALL_SECONDS,
    ITEM_FIELDS,
    check_hashes,
    compact,
    connect,
    create_collection,
    is_embedded,
    item_from_row,
    item_id,
    milvus_errors,
    read_properties,
    row_of_item,
    without_credentials,
)
from sal_runtime.gallery.milvus.expression import filter_expression
from sal_runtime.ranking.scoring import Queries, Scoring, best_proposed, num_proposed

if TYPE_CHECKING:
    from sal_runtime.bundle.bundle import Bundle
    from sal_runtime.gallery.items import ItemFilter

MAX_K = 16_384
"""Milvus returns no more to one query."""
ROWS_PER_CALL = 1000
"""Rows written or read by one call; Milvus takes and gives at most 64 MB."""
CHUNK_ROWS = 4096
"""Rows of one part of `chunks`; 32 MB at the longest embeddings there are (2,048 numbers)."""
HITS_PER_CALL = 16_384
"""Hits of all queries of one call, which come with their vectors; Milvus gives at most 64 MB."""
_READ = {"consistency_level": "Strong", "timeout": CALL_SECONDS}


class MilvusGallery:
    """An open collection; a context manager, and a `SearchableGallery`. Threads may share it."""

    def __init__(self, client: Any, address: str, collection: str) -> None:
        """Use `MilvusGallery.open` or `MilvusGallery.create`."""
        self.collection = collection
        self.title = f"{without_credentials(address)}/{collection}"
        self._client = client
        self._is_embedded = is_embedded(address)
        with milvus_errors(self.title):
            properties = read_properties(client, collection, self.title)
            client.load_collection(collection, timeout=CALL_SECONDS)
        self.fingerprint = properties["fingerprint"]
        self.embedding_dim = int(properties["embedding_dim"])
        self.precision = properties["precision"]
        self.bundle_name = properties["bundle_name"]

    @staticmethod
    def create(
        address: Path | str, collection: str, bundle: Bundle, precision: str = "fp32", token: str | None = None
    ) -> MilvusGallery:
        """Make an empty gallery for embeddings of `bundle`.

        Args:
            address: `http://host:19530` or `https://...` of a Milvus server (2.5 or later); or a local name that ends
                in `.db` for the embedded edition, which one process at a time can use.
            collection: letters, digits and underscores.
            bundle: its fingerprint stamps the collection.
            precision: of the image encoder that will make the embeddings.
            token: `user:password` or an API key of the server.

        Raises:
            BackendError: pymilvus is not installed.
            InputError: the address is none, or the collection exists.
            SalError: the server cannot be reached, or refuses.
        """
        with _connected(str(address), token) as (client, shown):
            if client.has_collection(collection, timeout=CALL_SECONDS):
                raise InputError(f"{shown}: collection {collection} exists already; open it, or name another")
            create_collection(client, collection, bundle, precision)
            return MilvusGallery(client, str(address), collection)

    @staticmethod
    def open(address: Path | str, collection: str, token: str | None = None) -> MilvusGallery:
        """Open a gallery, for reading and writing.

        Args:
            address: as for `create`.
            collection: its name.
            token: `user:password` or an API key of the server.

        Raises:
            BackendError: pymilvus is not installed.
            InputError: the address is none, or there is no such collection, or it is no gallery of this version.
            SalError: the server cannot be reached, or refuses.
        """
        if is_embedded(str(address)) and not Path(address).exists():
            raise InputError(f"{address}: there is no such gallery; MilvusGallery.create makes one")
        with _connected(str(address), token) as (client, shown):
            if not client.has_collection(collection, timeout=CALL_SECONDS):
                collections = ", ".join(client.list_collections(timeout=CALL_SECONDS)) or "none"
                raise InputError(f"{shown}: there is no collection {collection}; there is {collections}")
            return MilvusGallery(client, str(address), collection)

    def close(self) -> None:
        """Close the connection. The embedded edition keeps its file until the process ends."""
        self._client.close()

    def __enter__(self) -> MilvusGallery:
        """The gallery itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()

    def __len__(self) -> int:
        """Number of items."""
        return self.count(None)

    def count(self, where: ItemFilter | None) -> int:
        """Number of items that a filter lets through, by one query to the server."""
        with milvus_errors(self.title):
            found = self._client.query(self.collection, filter_expression(where), ["count(*)"], **_READ)
        return int(found[0]["count(*)"])

    def image_path(self, item: GalleryItem) -> Path:
        """Where the image of an item should be: its uri."""
        return Path(item.uri)

    def add(self, items: Sequence[GalleryItem], embeddings: Float32Array) -> None:
        """Add n items with unit vectors float32 `[n, d]`; an item whose uri is known replaces it (last one wins).

        Not one transaction: after an error part of it may be there. Adding the same again makes it whole.

        Raises:
            InputError: the embeddings do not fit the items or the gallery, or are not finite unit vectors; or an item
                has the hash of another one (the chance that any two of 10^9 items have is about 5 %).
            SalError: writing failed.
        """
        vectors = np.ascontiguousarray(embeddings, dtype=np.float32)
        check_embeddings(vectors, [item.uri for item in items], self.embedding_dim)
        latest = {item.uri: row for row, item in enumerate(items)}
        with milvus_errors(self.title):
            for part in batched(latest, ROWS_PER_CALL):
                known = self._client.get(self.collection, list(map(item_id, part)), ["id", "uri"], **_READ)
                check_hashes(part, {row["id"]: row["uri"] for row in known}, self.title)
                rows = [row_of_item(items[latest[uri]], vectors[latest[uri]]) for uri in part]
                self._client.upsert(self.collection, rows, timeout=CALL_SECONDS)

    def remove(self, uris: Iterable[str]) -> int:
        """Remove items, and say how many there were; unknown uris are passed over. See `erase` for the bytes.

        Raises:
            SalError: writing failed.
        """
        removed = 0
        with milvus_errors(self.title):
            for part in map(set, batched(uris, ROWS_PER_CALL)):
                found = self._client.get(self.collection, list(map(item_id, part)), ["id", "uri"], **_READ)
                removed += self._delete([row["id"] for row in found if row["uri"] in part])
        return removed

    def held_back(self, content_hashes: Iterable[str | None]) -> set[str]:
        """None: a collection keeps no tombstones."""
        return set()

    def remove_where(self, where: ItemFilter) -> int:
        """Remove the items that a filter lets through, and say how many there were. See `erase` for the bytes.

        Raises:
            InputError: the filter has no condition.
            SalError: writing failed.
        """
        if not where:
            raise InputError(f"gallery {self.title}: got a filter without a condition, which would remove everything")
        expression = filter_expression(where)
        removed = 0
        with milvus_errors(self.title):
            while found := self._client.query(self.collection, expression, ["id"], limit=ROWS_PER_CALL, **_READ):
                removed += self._delete([row["id"] for row in found])
        return removed

    def erase(self) -> None:
        """Have the server write its files anew without what was removed, and wait until it has.

        The server deletes the old files some hours later (`dataCoord.gc` in its settings); its message log, snapshots
        and backups have a retention of their own.

        Raises:
            SalError: it failed, or this is the embedded edition, which compacts on its own account only.
        """
        if self._is_embedded:
            raise SalError(
                f"gallery {self.title}: the embedded edition cannot be told to erase removed items from its files; "
                "export the gallery to Parquet, delete the directory, and import it into a new one"
            )
        with milvus_errors(self.title):
            compact(self._client, self.collection, self.title)

    def nearest(self, queries: Queries, k: int, where: ItemFilter | None = None) -> list[Neighbours]:
        """The items whose embeddings answer each query best, among those that a filter lets through.

        Args:
            queries: unit vectors float32 `[Q, d]`, ranked by the cosine. Or the scoring of each: the server gives the
                nearest `num_proposed(k)` items, at most 16,384, and the best of these come.
            k: 1 to 16,384; fewer come where there are fewer items.
            where: applied before ranking, so that k of the fitting items come; None for all.

        Returns:
            For each query up to k items, best first; in no order among equally near ones.

        Raises:
            InputError: the queries do not fit the gallery, or k is out of range.
            SalError: the server cannot be reached, or refuses.
        """
        scorings = [] if isinstance(queries, np.ndarray) else list(queries)
        vectors = queries if isinstance(queries, np.ndarray) else np.array([scoring.nearest for scoring in scorings])
        if vectors.ndim != 2 or vectors.shape[1] != self.embedding_dim:
            raise InputError(f"got queries {vectors.shape}, expected [Q, {self.embedding_dim}]")
        if not 1 <= k <= MAX_K:
            raise InputError(f"got k = {k}, expected 1 to {MAX_K:,}, the most that Milvus gives; `chunks` gives all")
        proposed = min(num_proposed(k), MAX_K) if scorings else k
        fields = [*ITEM_FIELDS, "embedding"]
        settings = {"filter": filter_expression(where), "limit": proposed, "output_fields": fields, **_READ}
        per_call = min(MAX_K, max(1, HITS_PER_CALL // proposed))
        found: list[Any] = []
        with milvus_errors(self.title):
            for start in range(0, len(vectors), per_call):
                part = np.ascontiguousarray(vectors[start : start + per_call], dtype=np.float32)
                found += self._client.search(self.collection, data=list(part), anns_field="embedding", **settings)
        neighbours = [self._neighbours(hits) for hits in found]
        return [_best(*pair, k) for pair in zip(scorings, neighbours, strict=True)] if scorings else neighbours

    def _neighbours(self, hits: Any) -> Neighbours:
        cosines = np.array([hit["distance"] for hit in hits], np.float32)
        embeddings = np.array([hit["entity"]["embedding"] for hit in hits], np.float32)
        items = tuple(item_from_row(hit["entity"]) for hit in hits)
        return Neighbours(items, cosines, embeddings.reshape(len(hits), self.embedding_dim))

    def items(self, ids: Iterable[int]) -> tuple[GalleryItem, ...]:
        """The items with these ids, in their order.

        Raises:
            InputError: there is no such item (any more).
        """
        return tuple(map(item_from_row, self._get(ids, ITEM_FIELDS)))

    def chunks(self, where: ItemFilter | None = None) -> Iterator[tuple[Int64Array, Float32Array]]:
        """All ids int64 `[n]` and embeddings float32 `[n, d]` that a filter lets through, 4,096 at a time, by id."""
        settings = {"filter": filter_expression(where), "output_fields": ["id", "embedding"], "batch_size": CHUNK_ROWS}
        with milvus_errors(self.title):
            rows = self._client.query_iterator(self.collection, **settings, **_READ)
            try:
                while part := rows.next():
                    ids = np.array([row["id"] for row in part], dtype=np.int64)
                    yield ids, np.array([row["embedding"] for row in part], dtype=np.float32)
            finally:
                rows.close()

    def _get(self, ids: Iterable[int], fields: list[str]) -> list[dict[str, Any]]:
        """Rows in the order of `ids`."""
        wanted = [int(number) for number in ids]
        rows: dict[int, dict[str, Any]] = {}
        with milvus_errors(self.title):
            for part in batched(dict.fromkeys(wanted), ROWS_PER_CALL):
                rows |= {row["id"]: row for row in self._client.get(self.collection, part, fields, **_READ)}
        if any(number not in rows for number in wanted):
            raise InputError(f"gallery {self.title}: an item was removed meanwhile; search again")
        return [rows[number] for number in wanted]

    def _delete(self, ids: list[int]) -> int:
        if ids:
            self._client.delete(self.collection, ids=ids, timeout=CALL_SECONDS)
        return len(ids)


def _best(scoring: Scoring, proposed: Neighbours, k: int) -> Neighbours:
    places, scores = best_proposed(scoring, proposed.embeddings, k)
    return Neighbours(tuple(proposed.items[place] for place in places), scores, proposed.embeddings[places])


@contextmanager
def _connected(address: str, token: str | None) -> Iterator[tuple[Any, str]]:
    """A connection and its address for messages; it is closed if the body fails."""
    client, shown = connect(address, token), without_credentials(address)
    try:
        with milvus_errors(shown):
            yield client, shown
    except BaseException:
        client.close()
        raise
