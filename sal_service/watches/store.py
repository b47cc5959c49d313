"""What must survive a crash: watches, the tracks that fit them, and an outbox of messages; one SQLite file.

Whatever a method has written is on the disk when it returns (`synchronous=FULL`), and what is deleted is overwritten.

    watch     one row each
    track     each track that fits a watch, with the message of its best image
    message   what was told, by its id; the text is empty once an image was removed
    delivery  what became of a message at each target
    cursor    how far the images of a gallery were looked at
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from sal_runtime.errors import InputError, SalError
from sal_runtime.gallery.store.scrub import overwrite_deleted
from sal_service.watches.following import Cursor
from sal_service.watches.watch import (
    Message,
    Target,
    Watch,
    lane_of,
    message_from_json,
    target_from_json,
    watch_from_json,
)

State = Literal["waiting", "delivered", "dead", "withdrawn"]
APPLICATION_ID = 0x53414C57
VERSION = 1
BUSY_SECONDS = 10.0
_TABLES = f"""
CREATE TABLE watch (id TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE track (
    watch TEXT NOT NULL REFERENCES watch ON DELETE CASCADE, camera TEXT NOT NULL, track TEXT NOT NULL,
    best TEXT NOT NULL, last_captured REAL, ended INTEGER NOT NULL, PRIMARY KEY (watch, camera, track)
);
CREATE TABLE message (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
    watch TEXT NOT NULL REFERENCES watch ON DELETE CASCADE,
    gallery TEXT NOT NULL, uri TEXT NOT NULL, body TEXT NOT NULL, made_at REAL NOT NULL, told INTEGER NOT NULL
);
CREATE INDEX message_of_watch ON message (watch, number);
CREATE INDEX message_of_image ON message (gallery, uri);
CREATE INDEX message_untold ON message (number) WHERE NOT told;
CREATE TABLE delivery (
    message INTEGER NOT NULL REFERENCES message ON DELETE CASCADE, target TEXT NOT NULL, lane TEXT NOT NULL,
    state TEXT NOT NULL, tries INTEGER NOT NULL, next_at REAL NOT NULL, problem TEXT NOT NULL,
    PRIMARY KEY (message, target)
);
CREATE INDEX delivery_due ON delivery (state, lane, next_at);
CREATE TABLE cursor (
    gallery TEXT PRIMARY KEY, item_id INTEGER NOT NULL, added_at REAL NOT NULL, fingerprint TEXT NOT NULL
);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""


@dataclass(frozen=True)
class FittingTrack:
    """A track with an image that fits a watch.

    Attributes:
        best: the message of its best image so far.
        last_captured: when its newest image was captured, seconds since 1970; None if that is not known.
        ended: whether that was told.
    """

    best: Message
    last_captured: float | None
    ended: bool = False


TrackKey = tuple[str, str, str]
"""Id of the watch, camera, track."""


@dataclass(frozen=True)
class Delivery:
    """A message on its way to one target.

    Attributes:
        key: number of the message, and the target as text.
        message: what is told.
        target: where to.
        tries: that failed so far.
    """

    key: tuple[int, str]
    message: Message
    target: Target
    tries: int


@dataclass(frozen=True)
class Counts:
    """What became of the messages of a watch: the tracks that fired, and deliveries by their state."""

    fired: int = 0
    waiting: int = 0
    delivered: int = 0
    dead: int = 0
    withdrawn: int = 0


class WatchStore:
    """The file; a context manager. Threads may share it; one process uses it at a time.

    Args:
        path: of the file, which is made where there is none. Only its owner may read it.

    Raises:
        InputError: it is another kind of file, or of another version.
        SalError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turn = threading.RLock()
        self._changed = threading.Condition(self._turn)
        with self._explained():
            path.touch(mode=0o600)
            self._connection = sqlite3.connect(path, BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self) -> None:
        run = self._connection.execute
        (kind,), (version,) = (run(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version"))
        (tables,) = run("SELECT count(*) FROM sqlite_schema").fetchone()
        if tables and (kind, version) != (APPLICATION_ID, VERSION):
            raise InputError(f"{self.path}: is no file of watches that this version of sal reads; name another file")
        for setting in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON", "foreign_keys = ON"):
            run(f"PRAGMA {setting}")
        if not tables:
            self._connection.executescript(f"BEGIN;{_TABLES}COMMIT;")

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            self._connection.close()

    def __enter__(self) -> WatchStore:
        """The store itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def add(self, watch: Watch) -> None:
        """Keep a watch.

        Raises:
            InputError: there is one with its id.
        """
        with self._writing() as db:
            if db.execute("SELECT 1 FROM watch WHERE id = ?", (watch.id,)).fetchone():
                raise InputError(f"there is a watch {watch.id} already", parameter="id")
            db.execute("INSERT INTO watch VALUES (?, ?)", (watch.id, watch.to_json()))

    def remove(self, watch_id: str) -> bool:
        """Delete a watch with its messages, delivered or not; say whether there was one."""
        with self._writing() as db:
            removed = db.execute("DELETE FROM watch WHERE id = ?", (watch_id,)).rowcount > 0
        self._empty_log()
        return removed

    def watches(self) -> list[Watch]:
        """All watches, in the order in which they were added."""
        with self._reading() as db:
            return [watch_from_json(body) for (body,) in db.execute("SELECT body FROM watch ORDER BY rowid")]

    def counts(self, watch_id: str | None = None) -> Counts:
        """What became of the messages of a watch, or of all."""
        where, values = ("WHERE watch = ?", (watch_id,)) if watch_id is not None else ("", ())
        with self._reading() as db:
            states: dict[str, int] = dict(
                db.execute(
                    "SELECT state, count(*) FROM delivery JOIN message ON number = delivery.message "
                    f"{where} GROUP BY state",
                    values,
                )
            )
            (fired,) = db.execute(
                f"SELECT count(*) FILTER (WHERE type = 'new') FROM message {where}", values
            ).fetchone()
        return Counts(fired, **states)

    def messages(self, watch_id: str, limit: int = 100, before: str | None = None) -> list[Message]:
        """The messages of a watch, newest first; those of removed images are left out.

        Args:
            watch_id: of the watch.
            limit: most messages.
            before: id of a message; only older ones.
        """
        older = "AND number < (SELECT number FROM message WHERE id = ?)" if before is not None else ""
        values = [watch_id, *([before] if before is not None else []), limit]
        query = f"SELECT body FROM message WHERE watch = ? AND body != '' {older} ORDER BY number DESC LIMIT ?"
        with self._reading() as db:
            return [message_from_json(body) for (body,) in db.execute(query, values)]

    def has_message(self, message_id: str) -> bool:
        """Whether a message was made, even if its image was removed since."""
        with self._reading() as db:
            return db.execute("SELECT 1 FROM message WHERE id = ?", (message_id,)).fetchone() is not None

    def cursor(self, gallery: str) -> Cursor | None:
        """How far the images of a gallery were looked at; None if they never were."""
        with self._reading() as db:
            row = db.execute(
                "SELECT item_id, added_at, fingerprint FROM cursor WHERE gallery = ?", (gallery,)
            ).fetchone()
        return None if row is None else Cursor(*row)

    def set_cursor(self, gallery: str, cursor: Cursor) -> None:
        """Say how far the images of a gallery were looked at."""
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO cursor VALUES (?, ?, ?, ?)", (gallery, *asdict(cursor).values()))

    def open_tracks(self) -> dict[TrackKey, FittingTrack]:
        """The tracks that have not ended."""
        query = "SELECT watch, camera, track, best, last_captured FROM track WHERE NOT ended"
        with self._reading() as db:
            return {
                (watch, camera, track): FittingTrack(message_from_json(best), last)
                for watch, camera, track, best, last in db.execute(query)
            }

    def ended_track(self, key: TrackKey) -> tuple[float | None] | None:
        """When the newest image of a track that has ended was captured, if that is known; None if it has not ended."""
        with self._reading() as db:
            row: tuple[float | None] | None = db.execute(
                "SELECT last_captured FROM track WHERE watch = ? AND camera = ? AND track = ? AND ended", key
            ).fetchone()
        return row

    def record(
        self,
        messages: Sequence[tuple[Message, Sequence[Target]]],
        tracks: Mapping[TrackKey, FittingTrack],
        now: float,
    ) -> None:
        """Keep new messages with their targets, and the state of tracks: all or nothing.

        A message whose id is known changes nothing.
        """
        with self._writing() as db:
            for message, targets in messages:
                values = (message.id, message.type, message.watch, message.gallery, message.uri, message.to_json(), now)
                done = db.execute(
                    "INSERT INTO message (id, type, watch, gallery, uri, body, made_at, told) "
                    "SELECT ?, ?, ?, ?, ?, ?, ?, 0 WHERE EXISTS (SELECT 1 FROM watch WHERE id = ?) "
                    "ON CONFLICT (id) DO NOTHING",
                    (*values, message.watch),
                )
                for target in targets if done.rowcount else ():
                    db.execute(
                        "INSERT OR IGNORE INTO delivery VALUES (?, ?, ?, 'waiting', 0, ?, '')",
                        (done.lastrowid, json.dumps(asdict(target)), lane_of(target), now),
                    )
            for key, track in tracks.items():
                best = "" if track.ended else track.best.to_json()
                db.execute(
                    "INSERT OR REPLACE INTO track SELECT ?, ?, ?, ?, ?, ? "
                    "WHERE EXISTS (SELECT 1 FROM watch WHERE id = ?)",
                    (*key, best, track.last_captured, track.ended, key[0]),
                )
            self._changed.notify_all()

    def untold(self) -> list[Message]:
        """The first messages that the service was not told of, in their order; at most 1,000."""
        with self._reading() as db:
            rows = db.execute("SELECT body FROM message WHERE NOT told AND body != '' ORDER BY number LIMIT 1000")
            return [message_from_json(body) for (body,) in rows]

    def mark_told(self, message_id: str) -> None:
        """The service was told of a message."""
        with self._writing() as db:
            db.execute("UPDATE message SET told = 1 WHERE id = ?", (message_id,))

    def images(self, gallery: str) -> list[str]:
        """The uris of the images of a gallery that messages tell of, or will tell of at the end of a track."""
        with self._reading() as db:
            query = (
                "SELECT uri FROM message WHERE gallery = :gallery AND uri != '' UNION "
                "SELECT json_extract(best, '$.uri') FROM track "
                "WHERE NOT ended AND json_extract(best, '$.gallery') = :gallery"
            )
            return [uri for (uri,) in db.execute(query, {"gallery": gallery})]

    def forget_images(self, gallery: str, uris: Iterable[str]) -> None:
        """Images were removed: their messages lose their texts, and are sent no more."""
        keys = [(gallery, uri) for uri in uris]
        with self._writing() as db:
            db.executemany(
                "UPDATE delivery SET state = 'withdrawn' WHERE state = 'waiting' AND message IN "
                "(SELECT number FROM message WHERE gallery = ? AND uri = ?)",
                keys,
            )
            db.executemany("UPDATE message SET body = '', uri = '' WHERE gallery = ? AND uri = ?", keys)
        self._empty_log()

    def lanes_due(self, now: float) -> list[str]:
        """The lanes (`lane_of`) that a message is due in."""
        with self._reading() as db:
            query = "SELECT DISTINCT lane FROM delivery WHERE state = 'waiting' AND next_at <= ?"
            return [lane for (lane,) in db.execute(query, (now,))]

    def next_due(self, lane: str, now: float) -> Delivery | None:
        """What is to be delivered next in a lane: what became due first, if anything is due."""
        query = (
            "SELECT number, target, body, tries FROM delivery JOIN message ON number = delivery.message "
            "WHERE state = 'waiting' AND lane = ? AND next_at <= ? ORDER BY next_at, number LIMIT 1"
        )
        with self._reading() as db:
            row = db.execute(query, (lane, now)).fetchone()
        if row is None:
            return None
        number, target, body, tries = row
        return Delivery((number, target), message_from_json(body), target_from_json(json.loads(target)), tries)

    def settle(self, delivery: Delivery, state: State, problem: str = "", next_at: float = 0.0) -> None:
        """What became of a try; `waiting` counts it as one that failed, and it is due again at `next_at`."""
        with self._writing() as db:
            db.execute(
                "UPDATE delivery SET state = ?, problem = ?, next_at = ?, tries = tries + ? "
                "WHERE message = ? AND target = ? AND state = 'waiting'",
                (state, problem, next_at, state in ("waiting", "dead"), *delivery.key),
            )

    def give_up(self, before: float) -> int:
        """Messages that wait since before a moment are dead; say how many deliveries these are."""
        with self._reading() as db:
            query = "FROM delivery JOIN message ON number = delivery.message WHERE state = 'waiting' AND made_at < ?"
            if db.execute(f"SELECT 1 {query} LIMIT 1", (before,)).fetchone() is None:
                return 0
        with self._writing() as db:
            return db.execute(
                "UPDATE delivery SET state = 'dead' WHERE state = 'waiting' AND message IN "
                "(SELECT number FROM message WHERE made_at < ?)",
                (before,),
            ).rowcount

    def problems(self, watch_id: str) -> list[str]:
        """Why messages of a watch did not arrive, the newest first; a line each."""
        query = (
            "SELECT DISTINCT problem FROM delivery JOIN message ON number = delivery.message "
            "WHERE watch = ? AND problem != '' ORDER BY number DESC LIMIT 10"
        )
        with self._reading() as db:
            return [problem for (problem,) in db.execute(query, (watch_id,))]

    def wait_for_messages(self, seconds: float) -> None:
        """Wait until there are new messages, or somebody calls `wake`, at most so long."""
        with self._changed:
            self._changed.wait(seconds)

    def wake(self) -> None:
        """End `wait_for_messages`."""
        with self._changed:
            self._changed.notify_all()

    def _empty_log(self) -> None:
        """What was deleted is in no file afterwards; where another process reads them, not until it is called again."""
        with self._reading() as db:
            overwrite_deleted(db, self.path)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._turn, self._explained():
            yield self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """All changes of the body, or none of them."""
        with self._turn, self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # SQLite has rolled back by itself after some errors, such as a full disk
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn errors of SQLite and of the file system into one line for people."""
        try:
            yield
        except sqlite3.Error as error:
            raise SalError(f"watches {self.path}: {error}") from error
        except OSError as error:
            raise SalError(f"watches {self.path}: {error.strerror or error}") from error
