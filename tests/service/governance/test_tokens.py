"""Tokens: only their hashes are kept, they end, and a file that cannot be trusted lets nobody in."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sal_runtime.errors import ConfigError, InputError, SalError
from sal_service.governance import tokens as module
from sal_service.governance.tokens import Principal, Tokens, add_token, list_tokens, remove_token

REPOSITORY = Path(__file__).parents[3]
LATER = 2_000_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.toml"


def test_the_file_has_the_hash_and_not_the_token(path: Path) -> None:
    token = add_token(path, "guard", ["search", "ingest"], LATER)
    assert re.fullmatch(r"sal_[\w-]{43}", token)
    assert token not in path.read_text()
    (entry,) = tomllib.loads(path.read_text())["tokens"]
    assert entry["sha256"] == hashlib.sha256(token.encode()).hexdigest()
    assert (entry["name"], entry["roles"]) == ("guard", ["search", "ingest"])
    assert entry["expires_at"].timestamp() == LATER
    assert path.stat().st_mode & 0o777 == 0o600


def test_who_has_a_token(path: Path) -> None:
    guard, boss = (add_token(path, name, [role], LATER) for name, role in (("guard", "search"), ("boss", "admin")))
    tokens = Tokens.read(path)
    assert tokens.check(guard, LATER - 1) == Principal("guard", frozenset({"search"}))
    assert tokens.check(guard, LATER) is None
    for wrong in (
        "",
        guard[:-1],
        guard + "x",
        guard.upper(),
        "sal_",
        "\udce4",
        hashlib.sha256(guard.encode()).hexdigest(),
    ):
        assert tokens.check(wrong, 0) is None
    principal = tokens.check(boss, 0)
    assert principal is not None
    assert all(principal.may(role) for role in ("search", "ingest", "admin"))
    assert [Principal("guard", frozenset({"search"})).may(role) for role in ("search", "ingest", "admin")] == [1, 0, 0]


def test_every_hash_is_compared_in_constant_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = add_token(path, "a", ["search"], LATER)
    add_token(path, "b", ["search"], LATER)
    tokens, compared = Tokens.read(path), []
    real = module.hmac.compare_digest
    monkeypatch.setattr(module.hmac, "compare_digest", lambda a, b: compared.append(a) or real(a, b))
    assert tokens.check(first, 0) is not None
    assert len(compared) == 2


def test_a_file_that_changes_is_read_again(path: Path) -> None:
    guard = add_token(path, "guard", ["search"], LATER)
    tokens = Tokens.read(path)
    door = add_token(path, "door", ["ingest"], LATER)
    assert tokens.check(door, 0) is not None
    remove_token(path, "guard")
    assert tokens.check(guard, 0) is None
    assert [token.principal.name for token in list_tokens(path)] == ["door"]


@pytest.mark.parametrize("fault", ["mode", "gone", "text"])
def test_a_file_that_cannot_be_trusted_lets_nobody_in(path: Path, fault: str) -> None:
    guard = add_token(path, "guard", ["search"], LATER)
    tokens, content = Tokens.read(path), path.read_bytes()
    if fault == "mode":
        path.chmod(0o644)
    elif fault == "gone":
        path.unlink()
    else:
        path.write_text("[[tokens]\n")
    for _ in range(2):
        with pytest.raises(SalError, match="nobody is let in until"):
            tokens.check(guard, 0)
    with pytest.raises(ConfigError):
        Tokens.read(path)
    path.write_bytes(content)
    path.chmod(0o600)
    assert tokens.check(guard, 0) is not None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("name =", "nmae ="), "did you mean name?"),
        (("[[tokens]]", "[[token]]"), "did you mean tokens?"),
        (('"search"', '"serach"'), "got the role 'serach', expected one or more of search, ingest, admin"),
        (('["search"]', "[]"), "got no role"),
        (('"guard"', '"a\\nb"'), "got the name"),
        (("sha256 = ", "sha256 = 5 #"), "expected 64 hexadecimal digits"),
        (("2033-05-18T03:33:20Z", "2033-05-18T03:33:20"), "expected a moment with a zone"),
        (("2033-05-18T03:33:20Z", '"never"'), "got expires_at never"),
    ],
)
def test_what_is_wrong_in_a_file(path: Path, change: tuple[str, str], words: str) -> None:
    add_token(path, "guard", ["search"], LATER)
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(ConfigError) as error:
        list_tokens(path)
    assert words in str(error.value)
    assert str(path) in str(error.value)


def test_two_tokens_do_not_share_a_name_or_a_hash(path: Path) -> None:
    add_token(path, "guard", ["search"], LATER)
    with pytest.raises(ConfigError, match="there is a token guard"):
        add_token(path, "guard", ["admin"], LATER)
    path.write_text(path.read_text() + path.read_text().replace('"guard"', '"other"'))
    with pytest.raises(ConfigError, match="two tokens have the sha256"):
        list_tokens(path)


def test_a_name_that_could_forge_the_file_is_refused(path: Path) -> None:
    for name in ('x"\nroles = ["admin"]', "", "-x", "a" * 65, "ü"):
        with pytest.raises(ConfigError, match="got the name"):
            add_token(path, name, ["search"], LATER)
    assert not path.exists()


def test_removing_an_unknown_token_suggests_what_is_near(path: Path) -> None:
    add_token(path, "guard", ["search"], LATER)
    with pytest.raises(InputError, match="did you mean guard"):
        remove_token(path, "gaurd")
    with pytest.raises(InputError, match="the names are guard"):
        remove_token(path, "zzz")


def test_processes_that_add_at_once_lose_nothing(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sal_service.governance.tokens import add_token\n"
        "for n in range(15): add_token(Path(sys.argv[1]), f'{sys.argv[2]}.{n}', ['search'], 2e9)"
    )
    command = [sys.executable, "-c", code, str(path)]
    children = [subprocess.Popen([*command, name], cwd=REPOSITORY) for name in ("a", "b", "c")]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert len(list_tokens(path)) == 45
    assert os.listdir(path.parent) == ["tokens.toml"]


def test_the_folder_of_a_first_token_is_made_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "yard.sal.service" / "tokens.toml"
    token = add_token(path, "desk", ["search"], 2e9)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert Tokens.read(path).check(token, 1.0) is not None
