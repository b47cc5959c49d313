"""Who is asking: tokens, of which a file holds the hashes, names, roles and ends.

A token is 32 random bytes. Its SHA-256 says nothing of it, so whoever reads the file cannot use it to ask.
"""

from __future__ import annotations

import difflib
import fcntl
import hashlib
import hmac
import os
import re
import secrets
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from sal_runtime.errors import ConfigError, InputError, SalError
from sal_runtime.files import whole_file, write_synced
from sal_service.governance.private import check_private
from sal_service.toml_file import read_toml, refuse_unknown

Role = Literal["search", "ingest", "admin"]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
HASH = re.compile(r"[0-9a-f]{64}")
PREFIX = "sal_"
"""Begins every token, so that programs that look for leaked secrets find it."""
HEADER = "# Who may use the service. These are hashes: no token can be read from them.\n"


@dataclass(frozen=True)
class Principal:
    """Whoever asks.

    Attributes:
        name: of the token.
        roles: `search` may search and see images, `ingest` may add images, `admin` may do everything.
    """

    name: str
    roles: frozenset[Role]

    def may(self, role: Role) -> bool:
        """Whether it has a role; `admin` has all."""
        return role in self.roles or "admin" in self.roles


@dataclass(frozen=True)
class Token:
    """What the file says of a token.

    Attributes:
        principal: who has it.
        sha256: of the token, in hexadecimal digits.
        expires_at: when it ends, seconds since 1970, UTC.
    """

    principal: Principal
    sha256: str
    expires_at: float


class Tokens:
    """The tokens of a file, which is read again when it has changed.

    Args:
        path: of the file.

    Raises:
        ConfigError: the file cannot be read, others may read it, or a token in it is wrong.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turn = threading.Lock()
        self._stamp = _stamp(path)
        self._tokens = list_tokens(path)

    @staticmethod
    def read(path: Path) -> Tokens:
        """The tokens of a file; as the constructor."""
        return Tokens(path)

    def check(self, token: str, now: float) -> Principal | None:
        """Who has a token; None if nobody has, or it has ended.

        Args:
            token: as it was printed once.
            now: seconds since 1970, UTC.

        Raises:
            SalError: the file was changed and cannot be used any more; nobody is let in until it is mended.
        """
        given = _hash(token)
        found = None
        for known in self._current():  # all of them, so that the time tells nothing
            if hmac.compare_digest(known.sha256, given):
                found = known
        return None if found is None or found.expires_at <= now else found.principal

    def _current(self) -> tuple[Token, ...]:
        with self._turn:
            try:
                stamp = _stamp(self.path)
                if stamp != self._stamp:
                    self._tokens, self._stamp = list_tokens(self.path), stamp
            except ConfigError as error:
                raise SalError(f"nobody is let in until the file of tokens is mended: {error}") from error
            return self._tokens


def list_tokens(path: Path) -> tuple[Token, ...]:
    """The tokens of a file, in its order.

    Raises:
        ConfigError: the file cannot be read, others may read it, or a token in it is wrong.
    """
    try:
        check_private(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from error
    content = read_toml(path)
    refuse_unknown(content, ("tokens",), str(path))
    tables = content.get("tokens", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{path}: expected a table [[tokens]] for each token")
    tokens = tuple(_read_token(path, number, table) for number, table in enumerate(tables, 1))
    for what, values in (("name", [one.principal.name for one in tokens]), ("sha256", [one.sha256 for one in tokens])):
        for value in values:
            if values.count(value) > 1:
                raise ConfigError(f"{path}: two tokens have the {what} {value}; remove one of them")
    return tokens


def _read_token(path: Path, number: int, table: dict[str, Any]) -> Token:
    title = f"{path}, token {table.get('name', number)}"
    refuse_unknown(table, ("name", "roles", "sha256", "expires_at"), title)
    name, digest, expires_at = table.get("name"), table.get("sha256"), table.get("expires_at")
    if not isinstance(name, str) or not isinstance(table.get("roles"), list):
        raise ConfigError(f"{title}: expected a name and a list of roles")
    if not isinstance(digest, str) or not HASH.fullmatch(digest):
        raise ConfigError(f"{title}: got sha256 {digest!r}, expected 64 hexadecimal digits")
    if not isinstance(expires_at, datetime) or expires_at.tzinfo is None:
        raise ConfigError(f"{title}: got expires_at {expires_at}, expected a moment with a zone: 2027-01-31T00:00:00Z")
    return Token(_principal(name, table["roles"], title), digest, expires_at.timestamp())


def _principal(name: str, roles: Collection[str], title: str) -> Principal:
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{title}: got the name {name!r}, expected 1 to 64 letters, digits, '.', '_' and '-', the first of them a "
            "letter or a digit"
        )
    known = get_args(Role)
    wrong = [role for role in roles if role not in known]
    if wrong or not roles:
        got = f"the role {wrong[0]!r}" if wrong else "no role"
        raise ConfigError(f"{title}: got {got}, expected one or more of {', '.join(known)}")
    return Principal(name, frozenset(role for role in known if role in roles))


def add_token(path: Path, name: str, roles: Collection[Role], expires_at: float) -> str:
    """Add a token to a file, which is made with its folder where it is missing; gives the token once and for all.

    Args:
        path: of the file.
        name: unique in the file; it is what the audit log calls whoever has the token.
        roles: at least one.
        expires_at: when it ends, seconds since 1970, UTC.

    Raises:
        ConfigError: the name or a role is wrong, there is such a token, or the file cannot be read.
        OSError: the file cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _changing(path) as tokens:
        principal = _principal(name, roles, f"{path}, new token")
        if any(token.principal.name == name for token in tokens):
            raise ConfigError(f"{path}: there is a token {name}; remove it first, or take another name")
        secret = PREFIX + secrets.token_urlsafe(32)
        _write(path, (*tokens, Token(principal, _hash(secret), expires_at)))
    return secret


def remove_token(path: Path, name: str) -> None:
    """Remove a token from a file; a service that reads the file does not take it any more.

    Raises:
        InputError: there is no such token.
        ConfigError: the file cannot be read.
        OSError: the file cannot be written.
    """
    with _changing(path) as tokens:
        names = [token.principal.name for token in tokens]
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]}?" if near else f"the names are {', '.join(names) or 'none'}"
            raise InputError(f"{path}: has no token {name}; {hint}")
        _write(path, tuple(token for token in tokens if token.principal.name != name))


@contextmanager
def _changing(path: Path) -> Iterator[tuple[Token, ...]]:
    """The tokens of a file that no other process changes meanwhile; none where there is no file."""
    folder = os.open(path.resolve().parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield list_tokens(path) if path.exists() else ()
    finally:
        os.close(folder)


def _write(path: Path, tokens: Sequence[Token]) -> None:
    blocks = [HEADER]
    for token in tokens:
        roles = ", ".join(f'"{role}"' for role in get_args(Role) if role in token.principal.roles)
        ends = datetime.fromtimestamp(token.expires_at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        blocks.append(
            f'[[tokens]]\nname = "{token.principal.name}"\nroles = [{roles}]\nsha256 = "{token.sha256}"\n'
            f"expires_at = {ends}\n"
        )
    with whole_file(path) as temporary:
        write_synced(temporary, "\n".join(blocks).encode(), mode=0o600)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        state = path.stat()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from error
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_mode
