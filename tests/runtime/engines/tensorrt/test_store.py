"""The engine store: what fits, why not, and that nothing altered, half written or foreign is ever given out."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from sal_runtime.engines.tensorrt.key import EngineKey, Profile, differences
from sal_runtime.engines.tensorrt.store import (
    Mismatch,
    find_engine,
    list_engines,
    read_engine,
    save_engine,
)
from sal_runtime.errors import BackendError

KEY = EngineKey(
    artefact_sha256="a" * 64,
    precision="fp16",
    library="TensorRT",
    library_version="11.3.0.99",
    compute_capabilities=("8.9",),
    gpu="NVIDIA L4",
    platform="linux-x86_64",
    profile=Profile(1, 8, 32),
)
PLAN = bytes(range(256)) * 7


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "engines"


def save(store: Path, **changes: Any) -> Path:
    return save_engine(store, dataclasses.replace(KEY, **changes), PLAN, {"graph": {"fp16": 3}})


def test_what_was_saved_is_found_and_read(store: Path) -> None:
    folder = save(store)
    assert find_engine(store, KEY) == folder
    assert read_engine(folder) == PLAN
    (engine,) = list_engines(store)
    assert (engine.key, engine.size, engine.inspection) == (KEY, len(PLAN), {"graph": {"fp16": 3}})
    assert sorted(path.name for path in folder.iterdir()) == ["engine.json", "engine.plan"]
    assert [path.name for path in store.iterdir()] == [KEY.digest]


def test_only_the_owner_can_enter_the_store(store: Path) -> None:
    folder = save(store)
    modes = [path.stat().st_mode & 0o777 for path in (store, folder, folder / "engine.plan", folder / "engine.json")]
    assert modes == [0o700, 0o700, 0o600, 0o600]


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_store_that_others_may_write_to_is_not_used(store: Path, mode: int) -> None:
    folder = save(store)
    store.chmod(mode)
    for use in (
        lambda: find_engine(store, KEY),
        lambda: read_engine(folder),
        lambda: save(store),
        lambda: list_engines(store),
    ):
        with pytest.raises(BackendError, match=f"other users may write to it .mode {mode:o}.*chmod 700"):
            use()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"compute_capabilities": ("9.0",)}, "built for compute capability 8.9, this is 9.0"),
        ({"library_version": "11.4.0.106"}, "built by TensorRT 11.3.0.99, this is TensorRT 11.4.0.106"),
        ({"library": "TensorRT-RTX", "library_version": "1"}, "built by TensorRT 11.3.0.99, this is TensorRT-RTX 1"),
        ({"gpu": "NVIDIA L40S"}, "built on NVIDIA L4, this is NVIDIA L40S"),
        ({"platform": "linux-aarch64"}, "built on linux-x86_64, this is linux-aarch64"),
        ({"precision": "int8"}, "built in fp16, asked for int8"),
        ({"profile": Profile(1, 8, 64)}, "built for batches 1 to 32, best at 8, asked for batches 1 to 64, best at 8"),
    ],
)
def test_the_reason_for_a_mismatch_is_in_words(store: Path, changes: dict[str, Any], reason: str) -> None:
    save(store)
    found = find_engine(store, dataclasses.replace(KEY, **changes))
    assert isinstance(found, Mismatch)
    assert str(found) == reason


def test_the_reasons_are_those_of_the_nearest_engine_of_the_same_encoder(store: Path) -> None:
    save(store, library_version="10.16.1.11", compute_capabilities=("7.5",), gpu="Tesla T4")
    save(store, library_version="11.4.0.106")
    save(store, artefact_sha256="b" * 64)
    found = find_engine(store, KEY)
    assert found == Mismatch(("built by TensorRT 11.4.0.106, this is TensorRT 11.3.0.99",))


def test_an_empty_store_and_another_encoder_are_said_so(store: Path) -> None:
    expected = Mismatch((f"no engine of this graph in {store}",))
    assert find_engine(store, KEY) == expected
    save(store, artefact_sha256="b" * 64)
    assert find_engine(store, KEY) == expected


def test_an_engine_for_more_gpus_fits_each_of_them(store: Path) -> None:
    folder = save(store, compute_capabilities=("12.0", "8.9"))
    assert find_engine(store, KEY) == folder
    assert isinstance(find_engine(store, dataclasses.replace(KEY, compute_capabilities=("8.6",))), Mismatch)


def test_every_field_is_in_the_hash_and_has_words() -> None:
    others: dict[str, Any] = {"compute_capabilities": ("9.0",), "profile": Profile(1, 9, 32)}
    changed = [
        dataclasses.replace(KEY, **{field.name: others.get(field.name, "other")}) for field in dataclasses.fields(KEY)
    ]
    assert len({key.digest for key in (KEY, *changed)}) == 1 + len(changed)
    assert differences(KEY, KEY) == []
    assert all(len(differences(key, KEY)) == 1 for key in changed)


def test_an_altered_byte_is_never_given_out(store: Path) -> None:
    folder = save(store)
    plan = folder / "engine.plan"
    for position in (0, len(PLAN) // 2, len(PLAN) - 1):
        altered = bytearray(PLAN)
        altered[position] ^= 1
        plan.write_bytes(altered)
        with pytest.raises(BackendError, match=r"was altered: its sha256 is .*executable code.*delete that folder"):
            read_engine(folder)


def test_another_file_of_another_length_does_not_count(store: Path) -> None:
    folder = save(store)
    (folder / "engine.plan").write_bytes(PLAN + b"!")
    assert list_engines(store) == []
    assert isinstance(find_engine(store, KEY), Mismatch)
    with pytest.raises(BackendError, match="is incomplete; delete that folder"):
        read_engine(folder)


@pytest.mark.parametrize("broken", ["no record", "no plan", "half a record", "record of another key", "other format"])
def test_a_broken_entry_does_not_count_and_is_replaced(store: Path, broken: str) -> None:
    folder = save(store)
    record = folder / "engine.json"
    if broken == "no record":
        record.unlink()
    elif broken == "no plan":
        (folder / "engine.plan").unlink()
    elif broken == "half a record":
        record.write_bytes(record.read_bytes()[:100])
    elif broken == "record of another key":
        record.write_text(record.read_text().replace("NVIDIA L4", "NVIDIA L5"))
    else:
        record.write_text(json.dumps(json.loads(record.read_text()) | {"format": 99}))
    assert list_engines(store) == []
    assert save(store) == folder
    assert read_engine(folder) == PLAN
    assert [path.name for path in store.iterdir()] == [KEY.digest]


def test_a_writer_that_dies_leaves_nothing_that_counts(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from sal_runtime.engines.tensorrt import store as engine_store\n"
        "from tests.runtime.engines.tensorrt.test_store import KEY, PLAN\n"
        "engine_store._move_in = lambda partial, final: os._exit(9)\n"
        "engine_store.save_engine(Path(sys.argv[1]), KEY, PLAN, {})\n"
    )
    died = subprocess.run([sys.executable, "-c", script, str(store)], check=False, cwd=Path(__file__).parents[4])
    assert died.returncode == 9
    (partial,) = store.iterdir()
    assert partial.name.startswith(".partial-")
    assert list_engines(store) == []


def test_writers_of_the_same_engine_do_each_other_no_harm(store: Path) -> None:
    """Each writes a plan of its own, as two builds of one engine differ; one stands, whole, and all are content."""
    writers = 8
    start = threading.Barrier(writers)
    folders: list[Path] = []

    def write(number: int) -> None:
        start.wait()
        for _ in range(5):
            folders.append(save_engine(store, KEY, bytes([number]) * 5000, {}))
            assert len(set(read_engine(folders[-1]))) == 1

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(folders) == writers * 5
    assert set(folders) == {store / KEY.digest}
    assert [path.name for path in store.iterdir()] == [KEY.digest]


@pytest.mark.parametrize("sizes", [(0, 1, 1), (2, 1, 3), (1, 4, 3), (-1, 1, 1)])
def test_batch_sizes_must_be_in_order(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(BackendError, match="expected 1 <= smallest <= best <= largest"):
        Profile(*sizes)


def test_the_store_imports_no_tensorrt() -> None:
    code = (
        "import sys, sal_runtime.engines.tensorrt.store\n"
        "print({'tensorrt', 'tensorrt_rtx', 'cuda', 'numpy'} & {name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[4], capture_output=True, text=True, check=True
    )
    assert "tensorrt" not in done.stdout
    assert "cuda" not in done.stdout
