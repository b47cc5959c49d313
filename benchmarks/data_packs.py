"""Data sets in parts that fit through a narrow door: packed here, checked and laid out again on another machine.

A pack is a folder with `index.json` and tar archives of at most a given size. Each archive belongs to one data set, or
to `weights`; members are the original files, byte for byte, under their paths below the data folder. The same files
make the same archives.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.torch import save

from sal_runtime.errors import InputError
from sal_train.checkpoint import write_text
from sal_train.datasets import load_dataset
from sal_train.datasets.market1501 import LABEL_FILE
from sal_train.datasets.table import table_file
from sal_train.pretrained import build_backbone, load_pretrained

INDEX_FILE = "index.json"
UNPACKED = ".unpacked"
"""Folder of the data folder that remembers which parts lie there already."""
WEIGHTS = "weights"
LITE0 = "efficientnet_lite0"
BLOCK = tarfile.BLOCKSIZE
END_OF_ARCHIVE = tarfile.RECORDSIZE + 2 * BLOCK


@dataclass(frozen=True)
class Part:
    """One archive.

    Attributes:
        file: its name.
        group: the data set it belongs to, or `weights`.
        files: how many it holds.
        bytes: its size.
        sha256: of its bytes.
    """

    file: str
    group: str
    files: int
    bytes: int
    sha256: str


def pack(data: Path, datasets: Sequence[str], weights: Sequence[str], out: Path, limit: int) -> list[Part]:
    """Write the parts and their index.

    Args:
        data: the folder that holds the data sets.
        datasets: names as `load_dataset` takes them.
        weights: files with weights of backbones; `efficientnet_lite0` stands for the published ones of that backbone,
            which are written as `efficientnet_lite0.safetensors` under the names that `model.weights` wants.
        out: must not exist, or be an earlier pack, which is replaced.
        limit: largest size of a part in bytes.

    Raises:
        InputError: a data set is not whole, a file is larger than a part, or `out` is something else.
    """
    if out.exists() and not (out / INDEX_FILE).is_file():
        raise InputError(f"{out}: exists and holds no pack; name a new folder")
    groups: list[tuple[str, list[tuple[str, Path | bytes]]]] = [(WEIGHTS, [_weights(name) for name in weights])]
    groups += [(name, sorted(needed_files(name, data).items())) for name in datasets]
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    parts = [
        _write_part(partial, f"{group.strip('/').replace('/', '-')}-{number:02d}.tar", group, members)
        for group, files in groups
        for number, members in enumerate(_fill(files, limit), start=1)
    ]
    write_text(partial / INDEX_FILE, json.dumps({"parts": [asdict(part) for part in parts]}, indent=1) + "\n")
    shutil.rmtree(out, ignore_errors=True)
    partial.replace(out)
    return parts


def needed_files(dataset: str, data: Path) -> dict[str, Path | bytes]:
    """Everything that training and testing on a data set read, by path below `data`.

    Raises:
        InputError: the data set is not whole, or files of it lie elsewhere.
    """
    loaded = load_dataset(dataset, data)
    paths = [*loaded.train.image_paths, *loaded.test.image_paths]
    if dataset == "market1501":
        paths.append(_folder(data, "Market-1501") / LABEL_FILE)
    elif dataset == "peta":
        folder = _folder(data, "PETA")
        names = folder / "index_to_file.csv"
        paths += [folder / "PETA.mat", *([names] if not (folder / "images").is_dir() else [])]
    else:
        table = table_file(data / dataset)
        paths += [table, *table.parent.glob("schema.json")]
    try:
        return {path.relative_to(data).as_posix(): path for path in paths}
    except ValueError as error:
        raise InputError(f"{dataset}: {error}; put the whole data set below {data}") from error


def _folder(data: Path, name: str) -> Path:
    return data / name if (data / name).is_dir() else data


def _weights(name: str) -> tuple[str, Path | bytes]:
    if name != LITE0:
        if not Path(name).is_file():
            raise InputError(f"--weights {name}: no such file; name files of weights, or {LITE0}")
        return f"{WEIGHTS}/{Path(name).name}", Path(name)
    trunk = build_backbone(LITE0, 2, "conv2").trunk
    load_pretrained(trunk, LITE0, "imagenet")
    return f"{WEIGHTS}/{LITE0}.safetensors", save(trunk.state_dict())


def _fill(files: Sequence[tuple[str, Path | bytes]], limit: int) -> Iterator[list[tuple[str, Path | bytes]]]:
    """Files in their order, as many in each list as make an archive of at most `limit` bytes."""
    members: list[tuple[str, Path | bytes]] = []
    used = END_OF_ARCHIVE
    for name, source in files:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        needed = BLOCK + -(-size // BLOCK) * BLOCK
        if END_OF_ARCHIVE + needed > limit:
            raise InputError(f"{name}: {size} bytes do not fit in a part of {limit}; raise --part-mib")
        if used + needed > limit:
            yield members
            members, used = [], END_OF_ARCHIVE
        members.append((name, source))
        used += needed
    if members:
        yield members


def _write_part(folder: Path, name: str, group: str, members: Sequence[tuple[str, Path | bytes]]) -> Part:
    with tarfile.open(folder / name, "w", format=tarfile.USTAR_FORMAT) as archive:
        for member, source in members:
            content = source if isinstance(source, bytes) else source.read_bytes()
            entry = tarfile.TarInfo(member)  # no owner, no date: the same files make the same archive
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return Part(name, group, len(members), (folder / name).stat().st_size, sha256_of(folder / name))


def sha256_of(path: Path) -> str:
    """Of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_index(packs: Path) -> list[Part]:
    """The parts of a pack.

    Raises:
        InputError: there is no index, or it is not one.
    """
    path = packs / INDEX_FILE
    if not path.is_file():
        raise InputError(f"{path}: not found; bring the index with the first part")
    try:
        return [Part(**part) for part in json.loads(path.read_text(encoding="utf-8"))["parts"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not an index of a pack ({error}); bring it again") from error


def unpack(packs: Path, data: Path) -> list[Part]:
    """Lay out the parts that are there and have not been before; parts may come one after the other.

    Args:
        packs: folder with the index and some of the parts; a part may be deleted once it is unpacked.
        data: becomes what `pack` was given as `data`, and has the weights in `weights/`.

    Returns:
        The parts that are still missing.

    Raises:
        InputError: a part is damaged; nothing of it is laid out.
    """
    missing = []
    for part in read_index(packs):
        seal = data / UNPACKED / part.file
        if seal.is_file() and seal.read_text(encoding="utf-8") == part.sha256:
            continue
        if not (packs / part.file).is_file():
            missing.append(part)
            continue
        _lay_out(packs / part.file, part, data)
        seal.parent.mkdir(exist_ok=True)
        write_text(seal, part.sha256)
    return missing


def _lay_out(path: Path, part: Part, data: Path) -> None:
    size, digest = path.stat().st_size, sha256_of(path)
    if (size, digest) != (part.bytes, part.sha256):
        raise InputError(
            f"{path}: damaged: {size} bytes with sha256 {digest[:12]}, the index wants {part.bytes} with "
            f"{part.sha256[:12]}; bring it again"
        )
    partial = data / f".{part.file}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with tarfile.open(path) as archive:
        archive.extractall(partial, filter="data")
    for file in sorted(partial.rglob("*")):
        if file.is_file():
            target = data / file.relative_to(partial)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    shutil.rmtree(partial)


def missing_of(missing: Sequence[Part], groups: Sequence[str]) -> Mapping[str, list[str]]:
    """The missing parts of each group that lacks some, in order."""
    return {group: names for group in groups if (names := [part.file for part in missing if part.group == group])}
