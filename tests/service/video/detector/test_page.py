"""docs/detectors.md is correct: its sidecars can be read, its tables are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from sal_service.video.detector.description import FAMILIES
from sal_service.video.detector.sidecar import KEYS, read_sidecar

PAGE = (Path(__file__).parents[4] / "docs" / "detectors.md").read_text(encoding="utf-8")


def rows_of(header: str) -> list[list[str]]:
    """The cells of the table whose header begins so."""
    table = PAGE[PAGE.index(f"\n{header}") :].split("\n\n")[0].strip().splitlines()
    return [[cell.strip() for cell in row.strip("|").split(" |")] for row in table[2:]]


def test_every_example_can_be_read_and_every_family_has_one(tmp_path: Path) -> None:
    examples = re.findall(r"^```toml\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
    path = tmp_path / "mine.toml"
    families = set()
    for text in examples:
        path.write_text(text)
        settings = read_sidecar(path)
        assert "person_class" in settings
        families.add(settings.get("family", "yolov8"))
    assert families | {"yolox-raw"} == set(FAMILIES)


def test_all_keys_are_explained() -> None:
    explained = [key for row in rows_of("| key | values") for key in re.findall(r"`(\w+)`", row[0])]
    assert sorted(explained) == sorted(KEYS)


def test_all_families_are_listed_with_their_conventions() -> None:
    recognised = {name for row in rows_of("| family | recognised") for name in re.findall(r"`([\w-]+)`", row[0])}
    assert recognised | {"yolox"} == set(FAMILIES)
    for names, colours, pixels, fit, overlap in rows_of("| family | colours"):
        for name in re.findall(r"`([\w-]+)`", names):
            conventions = FAMILIES[name].conventions
            assert conventions["colour"].upper() == colours
            assert conventions["divide_by"] == (1 if pixels == "0..255" else 255)
            assert ("ImageNet" in pixels) == any(conventions["mean"])
            expected = conventions["fit"] if conventions["fit"] == "stretch" else f"{conventions['fit']} on 114"
            assert fit == expected
            assert float(overlap) == conventions["overlap"]
