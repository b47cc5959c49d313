"""What can be wrong with embeddings before they enter a gallery file, and with the file after."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sal_runtime import gallery_items, vector_blocks
from sal_runtime.errors import InputError

NORM_TOLERANCE = 1e-2
"""How far the length of an embedding may be from 1 (fp16 encoders are good to about 1e-3)."""

MAX_PROBLEMS = 20
"""Of a kind; a damaged file would otherwise name every item."""


def check_embeddings(vectors: NDArray[np.float32], uris: Sequence[str], embedding_dim: int) -> None:
    """Refuse embeddings that do not fit their items or the gallery.

    Args:
        vectors: expected to be float32 `[len(uris), embedding_dim]`, of length 1 each.
        uris: of the items, for the message.
        embedding_dim: of the gallery.

    Raises:
        InputError: they do not.
    """
    if vectors.shape != (len(uris), embedding_dim):
        raise InputError(
            f"got embeddings of shape {vectors.shape} for a gallery, expected ({len(uris)}, {embedding_dim}); "
            "encode the items with the bundle of the gallery"
        )
    lengths = np.linalg.norm(vectors, axis=1)
    wrong = np.flatnonzero(~(np.abs(lengths - 1.0) <= NORM_TOLERANCE))  # the form that NaN cannot pass
    if len(wrong):
        raise InputError(
            f"got an embedding of length {lengths[wrong[0]]:.4g} for {uris[wrong[0]]}, expected 1; "
            "was it made by an ImageEncoder?"
        )


def find_problems(connection: sqlite3.Connection, embedding_dim: int) -> list[str]:
    """Damaged pages, items without a vector, vectors without an item, and vectors whose checksum is wrong.

    Args:
        connection: of the gallery, in a transaction.
        embedding_dim: of its vectors.

    Returns:
        A line for people each; an empty list if all is well.
    """
    try:
        rows = connection.execute(f"PRAGMA integrity_check({MAX_PROBLEMS})").fetchall()
        damaged = [f"damaged file: {text}" for (text,) in rows if text != "ok"]
        return damaged or _mismatches(connection, embedding_dim)
    except sqlite3.DatabaseError as error:
        return [f"damaged file: {error}"]


def _mismatches(connection: sqlite3.Connection, embedding_dim: int) -> list[str]:
    count = gallery_items.count_items(connection)
    ids, vectors = vector_blocks.read_vectors(connection, count, embedding_dim)
    wrong: list[str] = []
    seen = 0
    for item_id, uri, slot, checksum in connection.execute("SELECT id, uri, slot, checksum FROM item"):
        seen += 1
        if not 0 <= slot < count or ids[slot] != item_id:
            wrong.append(f"{uri}: has no vector of its own")
        elif zlib.crc32(vectors[slot].tobytes()) != checksum:
            wrong.append(f"{uri}: its vector has changed since it was added")
    if seen != count:
        wrong.insert(0, f"{count} vectors for {seen} items")
    return wrong if len(wrong) <= MAX_PROBLEMS else [*wrong[:MAX_PROBLEMS], f"and {len(wrong) - MAX_PROBLEMS} more"]
