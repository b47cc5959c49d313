"""`sal search` and `sal gallery` as a person runs them: what is printed where, and the exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sal_cli import app as cli
from sal_cli.show.hits_table import hits_table
from sal_cli.show.search import print_hits
from sal_runtime.archive import ray
from sal_runtime.errors import ConfigError
from sal_runtime.gallery.gallery import Gallery
from tests.command_line import check_one_error, run_sal
from tests.runtime.gallery_contents import stored_vectors
from tests.runtime.gallery_images import IMAGE_URIS, add_unreadable, make_folder, write_image
from tests.runtime.made_up_result import made_up_result
from tests.runtime.tiny_bundle import make_tiny_bundle

Sal = Callable[..., tuple[int, str, str]]
SHIPPED = Path(__file__).parents[3] / "bundles" / "edge"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "crops")


@pytest.fixture
def sal(bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Sal:
    """Runs the command with the tiny bundle as the default; gives exit code, stdout and stderr."""
    monkeypatch.setenv("SAL_BUNDLE", str(bundle))
    monkeypatch.setenv("COLUMNS", "80")

    return lambda *arguments: run_sal(capsys, *arguments)


def test_search_prints_a_table(folder: Path, sal: Sal) -> None:
    code, out, err = sal("search", "--attrs", "male,backpack", "--gallery", folder)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "asked: male ◆ · backpack"
    assert lines[1].split() == ["#", "score", "image", "male", "◆", "backpack"]  # the tiny bundle is not calibrated
    assert sorted(line.split("  ")[2].strip() for line in lines[2:8]) == sorted(IMAGE_URIS)
    assert "not calibrated" in lines[8]
    assert lines[9] == "the best 6 of 6 images; 6 encoded now; files passed over: 1 .txt"
    assert max(map(len, lines)) <= 80


def test_images_without_colours_do_not_answer_for_a_colour(folder: Path, sal: Sal, tmp_path: Path) -> None:
    gallery, html, grid = tmp_path / "yard.sal", tmp_path / "hits.html", tmp_path / "hits.png"
    rows = [f"{uri},{'yes' if number < 2 else ''}" for number, uri in enumerate(IMAGE_URIS)]
    (folder / "crops.csv").write_text("\n".join(["image,colourless", *rows]))
    assert sal("gallery", "add", gallery, "--table", folder / "crops.csv")[0] == 0
    note = (
        "2 images without colours (infrared, or black and white) were left out; ask for no colour to search all images"
    )
    for description, marked in (("man in a red jacket", 0), ("!upper=red|blue", 0), ("male,backpack", 2)):
        notes = [] if marked else [note]
        code, out, _ = sal("search", description, gallery, "--html", html, "--grid", grid)
        assert code == 0
        assert sum(uri in out for uri in IMAGE_URIS[:2]) == marked
        assert [uri for uri in IMAGE_URIS[2:] if uri not in out] == []
        assert f"the best {4 + marked} of 6 images" in out
        assert (f" note: {note}" in " ".join(out.split())) is bool(notes)
        assert (note in html.read_text()) is bool(notes)
        document = json.loads(sal("search", description, gallery, "--json")[1])
        found = {str(folder / uri) for uri in (*IMAGE_URIS[2:], *IMAGE_URIS[:marked])}
        assert {hit["uri"] for hit in document["hits"]} == found
        assert document["notes"] == notes
        _, printed, err = sal("search", description, gallery, "--csv", "-")
        assert len(list(csv.DictReader(io.StringIO(printed)))) == 4 + marked
        assert err == "".join(f"sal: note: {line}\n" for line in notes)


def test_search_prints_one_json_document_and_writes_sheets(folder: Path, sal: Sal, tmp_path: Path) -> None:
    html, grid = tmp_path / "sheet.html", tmp_path / "grid.jpg"
    code, out, err = sal("search", "-a", "male,!hat", "-g", folder, "-k", 2, "--json", "--html", html, "--grid", grid)
    assert code == 0
    document = json.loads(out)
    assert [hit["rank"] for hit in document["hits"]] == [1, 2]
    assert document["query"]["terms"][1]["understood"] == "not hat"
    assert document["gallery"]["items"] == 6
    assert html.read_text().startswith("<!doctype html>")
    assert grid.read_bytes()[:2] == b"\xff\xd8"
    assert err.splitlines() == [f"wrote {html}", f"wrote {grid}"]


def weak_words_of_the_shipped_bundle() -> list[tuple[str, str]]:
    """What it recognises in fewer than a tenth of the test images that show it, each with its note."""
    manifest = json.loads((SHIPPED / "manifest.json").read_text(encoding="utf-8"))
    found = []
    for word, rates in manifest["metrics"]["recognition"]["by_attribute"].items():
        share, images = rates["true_positive_rate"], rates["positives"]
        if images and share < 0.1 and "=" not in word:
            seen = f"{round(share * images):,} of {images:,}"
            found.append((word, f"{word} is recognised in {seen} test images that show it; do not rely on it"))
    return found


def test_weak_words_and_unlikely_hits_are_noted(folder: Path, sal: Sal, tmp_path: Path) -> None:
    html = tmp_path / "sheet.html"
    words, weak = zip(*weak_words_of_the_shipped_bundle()[:2], strict=True)
    arguments = ("search", "-a", ",".join(words), "-g", folder, "-b", SHIPPED)
    _, out, _ = sal(*arguments, "--html", html)
    document = json.loads(sal(*arguments, "--json")[1])
    best = max(hit["likelihood"] for hit in document["hits"])
    assert best < 0.2  # coloured squares are nobody
    assert document["notes"] == [*weak, f"no hit is likely to match: the best likelihood is {int(100 * best)}%"]
    for note in document["notes"]:
        assert f"note: {note}" in " ".join(out.split())
        assert note in html.read_text()
    male = json.loads(sal("search", "-a", "male", "-g", folder, "-b", SHIPPED, "--json")[1])
    assert not any("is recognised in" in note for note in male["notes"])


def test_a_sentence_is_asked_and_an_unknown_word_is_named(folder: Path, sal: Sal) -> None:
    _, out, _ = sal("search", "-a", "lady in a red jacket, no hat", "-g", folder)
    assert out.splitlines()[0].startswith("asked: ")
    assert "upper-colour red" in out
    check_one_error(
        sal("search", "-a", "umbrella", "-g", folder), 2, "this bundle does not know 'umbrella'", "`sal bundle words`"
    )


def test_hits_that_are_not_likely_enough_are_left_out(folder: Path, sal: Sal) -> None:
    arguments = ("search", "-a", "male,!hat", "-g", folder, "-b", SHIPPED, "--json")
    hits = json.loads(sal(*arguments)[1])["hits"]
    third = sorted(hit["likelihood"] for hit in hits)[-3]
    code, out, _ = sal(*arguments, "--min-likelihood", third)
    assert code == 0
    assert json.loads(out)["hits"] == [hit for hit in hits if hit["likelihood"] >= third]
    _, out, _ = sal(*arguments[:-1], "--min-likelihood", 1)
    assert "only: likelihood of match 100% or more" in out
    assert "none of 6 images fulfils these conditions" in out
    shares = [
        json.loads(sal(*arguments, "--min-likelihood", text)[1])["hits"] for text in ("1%", "0.01", ".01", "1.0 %")
    ]
    assert shares.count(shares[0]) == 4
    for text in ("1.5", "80", "101%", "-1", "nan", "much"):
        check_one_error(sal(*arguments, f"--min-likelihood={text}"), 2, "expected a share such as 80% or 0.8")
    with pytest.raises(ConfigError, match="is not calibrated"):
        made_up_result(folder).likely(0.5)  # its fourth hit has none


def test_the_description_and_the_gallery_may_come_without_options(folder: Path, sal: Sal) -> None:
    expected = sal("search", "--attrs", "male,backpack", "--gallery", folder)[1].splitlines()[:8]
    for words in (
        ("male,backpack", folder),
        ("--gallery", folder, "male,backpack"),
        ("male,backpack", "-g", folder),
        ("-a", "male,backpack", folder),
    ):
        code, out, _ = sal("search", *words)
        assert (code, out.splitlines()[:8]) == (0, expected)
    check_one_error(sal("search", "male", folder, "-a", "female"), 2, "the description is given twice", "crops")
    check_one_error(sal("search", "male", folder, "-g", folder), 2, "the gallery is given twice")
    check_one_error(sal("search", "-a", "male", "-g", folder, "male"), 2, "description and gallery is given twice")
    check_one_error(sal("search", "male"), 2, "the gallery is missing", "sal search 'red shirt' crops/")
    check_one_error(sal("search", "-g", folder), 2, "the description is missing")
    check_one_error(sal("search"), 2, "the gallery is missing")
    check_one_error(sal("search", folder, "red jacket"), 2, "write the description first")


@pytest.mark.parametrize(
    ("option", "name", "expected"),
    [
        ("--html", "x.jpg", ".html or .htm"),
        ("--html", "x.csv", ".html or .htm"),
        ("--grid", "x.html", ".jpg or .jpeg or .png"),
        ("--grid", "x.WEBP", ".jpg or .jpeg or .png"),
        ("--csv", "x.json", ".csv"),
        ("--csv", "x.tsv", ".csv"),
    ],
)
def test_a_name_that_promises_another_format_is_refused(
    option: str, name: str, expected: str, folder: Path, sal: Sal, tmp_path: Path
) -> None:
    check_one_error(sal("search", "male", folder, option, tmp_path / name), 2, option, f"expected {expected}")
    assert not folder.with_name("crops.sal").exists()


def test_pages_and_pictures_do_not_go_to_stdout(folder: Path, sal: Sal) -> None:
    for option in ("--html", "--grid"):
        check_one_error(sal("search", "male", folder, option, "-"), 2, "only --csv can write to stdout")


def test_a_grid_has_the_format_of_its_name(folder: Path, sal: Sal, tmp_path: Path) -> None:
    beginnings = {"x.png": b"\x89PNG", "x.JPG": b"\xff\xd8\xff", "x.jpeg": b"\xff\xd8\xff", "x": b"\xff\xd8\xff"}
    for name, beginning in beginnings.items():
        assert sal("search", "male", folder, "--grid", tmp_path / name)[0] == 0
        assert (tmp_path / name).read_bytes().startswith(beginning)


def test_hits_for_a_spreadsheet(folder: Path, sal: Sal, tmp_path: Path) -> None:
    gallery, file = tmp_path / "yard.sal", tmp_path / "hits.csv"
    sal(
        "gallery", "add", gallery, folder, "--camera", "a, b", "--captured-at", "2026-11-23T14:30Z", "--meta", "score=7"
    )
    code, printed, err = sal("search", "male,backpack", gallery, "--csv", "-")
    assert (code, err) == (0, "")
    assert sal("search", "male,backpack", gallery, "--csv", file)[2] == f"wrote {file}\n"
    assert file.read_text(encoding="utf-8") == printed
    rows = list(csv.DictReader(io.StringIO(printed)))
    hits = json.loads(sal("search", "male,backpack", gallery, "--json")[1])["hits"]
    assert [row["uri"] for row in rows] == [hit["uri"] for hit in hits]
    assert [float(row["score"]) for row in rows] == pytest.approx([hit["score"] for hit in hits], abs=1e-4)
    assert [float(row["male"]) for row in rows] == pytest.approx([hit["evidence"]["male"] for hit in hits], abs=1e-4)
    known = {(row["camera"], row["captured_at"], row["meta.score"], row["track"], row["likelihood"]) for row in rows}
    assert known == {("a, b", "2026-11-23T14:30:00Z", "7", "", "")}
    check_one_error(sal("search", "male", gallery, "--csv", "-", "--json"), 2, "--json cannot take effect")
    (word, note), *_ = weak_words_of_the_shipped_bundle()
    _, printed, err = sal("search", word, folder, "-b", SHIPPED, "--csv", "-")
    assert f"sal: note: {note}" in err  # stdout is for the spreadsheet
    assert len(printed.splitlines()) == 7


def test_a_hit_for_each_track(folder: Path, sal: Sal, tmp_path: Path) -> None:
    gallery, table, html = tmp_path / "yard.sal", tmp_path / "crops.csv", tmp_path / "hits.html"
    tracks = ["7", "7", "8", "7", "8", ""]
    rows = [f"crops/{uri},{track}" for uri, track in zip(IMAGE_URIS, tracks, strict=True)]
    table.write_text("\n".join(["image,track", *rows]), encoding="utf-8")
    assert sal("gallery", "add", gallery, "--table", table)[0] == 0
    code, out, _ = sal("search", "male", gallery, "--by-track", "--html", html)
    assert code == 0
    lines = out.splitlines()
    assert sorted(re.findall(r"  (7 \+2 more|8 \+1 more|-)  ", "\n".join(lines[2:5]))) == [
        "-",
        "7 +2 more",
        "8 +1 more",
    ]
    assert lines[6] == "the best 3 tracks of 6 images"
    page = html.read_text(encoding="utf-8")
    assert "The best 3 tracks of 6 images" in page
    assert page.count("<summary>+2 more</summary>") == page.count("<summary>+1 more</summary>") == 1
    assert page.count("<img") == 6
    document = json.loads(sal("search", "male", gallery, "--by-track", "-k", 2, "--json")[1])
    assert [len(hit.get("others", ())) for hit in document["hits"]] == [
        {"7": 2, "8": 1, None: 0}[hit.get("track")] for hit in document["hits"]
    ]
    assert len(document["hits"]) == 2
    check_one_error(sal("search", "male", folder, "--by-track"), 2, "no image has a track", "--table crops.csv")


def test_files_that_were_passed_over_are_counted(folder: Path, sal: Sal) -> None:
    for name in ("crops.csv", "notes.TXT", "README", "video.mp4", "other.mp4"):
        (folder / name).write_text("no image")
    _, out, _ = sal("search", "male", folder)
    assert "; files passed over: 2 .txt, 2 .mp4, 1 without a suffix, 1 .csv" in out
    document = json.loads(sal("search", "male", folder, "--json")[1])
    assert document["passed_over"] == {".txt": 2, ".mp4": 2, ".csv": 1, "": 1}
    assert json.loads(sal("search", "male", folder.with_name("crops.sal"), "--json")[1])["passed_over"] == {}


def test_the_licence_of_research_weights_is_said_when_a_folder_is_encoded(folder: Path, sal: Sal) -> None:
    first, second = (sal("search", "male", folder, "-b", SHIPPED) for _ in range(2))
    assert first[2].startswith("sal: bundle edge: Research use only: ")
    assert second[2] == ""
    assert "licence" not in json.loads(sal("search", "male", folder, "-b", SHIPPED, "--json")[1])


def test_unreadable_images_are_named_the_rest_is_searched_and_the_exit_code_says_so(folder: Path, sal: Sal) -> None:
    names = add_unreadable(folder)
    code, out, err = sal("search", "-a", "male", "-g", folder)
    assert code == 1
    assert "the best 6 of 6 images" in out
    assert len(err.splitlines()) == len(names)
    for name in names:
        assert f"sal: skipped {folder / name}: " in err
    code, out, err = sal("search", "-a", "male", "-g", folder, "--json")
    assert code == 1
    assert sorted(Path(entry["path"]).name for entry in json.loads(out)["failed"]) == sorted(names)


def test_bad_input_is_one_clear_line_and_exit_code_2(folder: Path, sal: Sal, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    check_one_error(sal("search", "-a", "male", "-g", tmp_path / "empty"), 2, "holds no image", "empty")
    check_one_error(sal("search", "-a", "male", "-g", tmp_path / "missing"), 2, "no such folder", "missing")
    check_one_error(sal("search", "-a", "male,hatt", "-g", folder), 2, "hatt", "did you mean hat")
    check_one_error(sal("search", "-a", "male,female", "-g", folder), 2, "male", "female", "contradict")
    check_one_error(sal("search", "-a", "", "-g", folder), 2, "empty")
    missing = tmp_path / "no such bundle"
    check_one_error(sal("search", "-a", "male", "-g", folder, "-b", missing), 2, "no such bundle")
    nowhere = tmp_path / "nowhere" / "sheet.html"
    check_one_error(sal("search", "-a", "male", "-g", folder, "--html", nowhere), 2, "make it first")
    assert not folder.with_name("crops.sal").exists()


def test_a_gallery_made_by_another_bundle(folder: Path, sal: Sal, tmp_path: Path) -> None:
    sal("search", "-a", "male", "-g", folder)
    other = make_tiny_bundle(tmp_path / "other", name="other", seed=1)
    for place in (folder, folder.with_name("crops.sal")):
        check_one_error(sal("search", "-a", "male", "-g", place, "-b", other), 2, "made by bundle tiny", "bundle other")


def test_the_names_of_files_do_not_steer_the_terminal(folder: Path, sal: Sal, tmp_path: Path) -> None:
    check_one_error(sal("search", "-a", "male", "-g", tmp_path / "a\x1b[2J"), 2, r"a\x1b[2J: there is no such folder")
    write_image(folder / "new\nline \x1b[2J.png", (9, 9, 9))
    (folder / "bad\n\x1b[2J.png").write_bytes(b"no image")
    code, out, err = sal("search", "-a", "male", "-g", folder)
    assert code == 1
    assert r"new\nline \x1b[2J.png" in out
    (line,) = err.splitlines()
    assert r"bad\n\x1b[2J.png: not a JPEG" in line
    assert "\x1b" not in out + err


def test_wrong_usage_is_exit_code_2(folder: Path, sal: Sal) -> None:
    assert sal("search", "--gallery", folder)[0] == 2
    assert sal("search", "-a", "male", "-g", folder, "-k", 0)[0] == 2
    assert sal("search", "-a", "male", "-g", folder, "--device", "tpu")[0] == 2
    assert sal("surch")[0] == 2


def test_what_nobody_expected_is_one_line_and_debug_shows_where(
    folder: Path, sal: Sal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("sal_runtime.matching.open_and_ask.search", broken)
    check_one_error(sal("search", "-a", "male", "-g", folder), 1, "ZeroDivisionError: division by zero", "--debug")
    with pytest.raises(ZeroDivisionError):
        cli.main(["search", "-a", "male", "-g", str(folder), "--debug"])


def test_help_and_version(sal: Sal) -> None:
    code, out, _ = sal("--version")
    assert code == 0
    assert out.startswith("sal 0.")
    for command in ([], ["search"], ["gallery"], ["gallery", "add"], ["gallery", "purge"]):
        code, out, _ = sal(*command, "--help")
        assert code == 0
        assert "Usage: sal" in out


def test_a_gallery_from_images_anywhere(folder: Path, sal: Sal, tmp_path: Path) -> None:
    path = tmp_path / "yard.sal"
    door = write_image(tmp_path / "door.jpg", (9, 9, 9))
    code, out, _ = sal("gallery", "add", path, folder / "cam 1", door, "--camera", "c1", "--captured-at", "mtime")
    assert (code, out) == (0, "5 added, 0 changed, 0 removed, 0 unchanged\n")
    code, out, _ = sal("gallery", "add", path, folder / "red.jpg", "--captured-at", "2020-01-01T12:00+01:00", "--json")
    assert json.loads(out) == {"added": 1, "changed": 0, "removed": 0, "unchanged": 0, "held_back": 0, "failed": []}
    code, out, _ = sal("gallery", "add", path, folder / "cam 1", door, "--camera", "c2")
    assert out == "0 added, 0 changed, 0 removed, 5 unchanged\n"
    with Gallery.open(path) as gallery:
        items = {Path(item.uri).name: item for item in gallery.all_items()}
    assert items["door.jpg"].camera == "c2"
    assert items["door.jpg"].captured_at == pytest.approx(door.stat().st_mtime, abs=1e-3)
    assert items["red.jpg"].captured_at == 1577876400.0
    assert items["red.jpg"].camera is None

    code, out, _ = sal("search", "-a", "hat", "-g", path, "--json")
    assert code == 0
    assert {Path(hit["path"]).is_file() for hit in json.loads(out)["hits"]} == {True}

    code, out, _ = sal("gallery", "purge", path, "--older-than", "52w")
    assert (code, out) == (0, "removed 1 image\n")
    code, out, _ = sal("gallery", "remove", path, door, "--json")
    assert json.loads(out)["uris"] == [str(Path(door).resolve())]
    check_one_error(sal("gallery", "remove", path, door), 2, "door.jpg", "nothing was removed")
    code, out, _ = sal("gallery", "status", path, "--json")
    assert json.loads(out)["items"] == 4
    assert sal("gallery", "verify", path)[:2] == (0, "ok\n")
    assert sal("gallery", "purge", path, "--older-than", "0m", "--camera", "c2")[1] == "removed 4 images\n"


def test_conditions_come_before_ranking_and_removal(folder: Path, sal: Sal, tmp_path: Path) -> None:
    gallery = tmp_path / "yard.sal"
    sal("gallery", "add", gallery, folder / "red.jpg", "--camera", "door", "--captured-at", "2026-11-23T14:30")
    sal("gallery", "add", gallery, folder / "green.PNG", "--camera", "yard", "--meta", "zone=north")
    sal("gallery", "add", gallery, folder / "cam 1")
    code, out, err = sal("search", "-a", "male", "-g", gallery, "--camera", "door", "--from", "2026-11-23T14:00")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[1] == "only: camera door · from 2026-11-23 14:00:00 UTC"
    assert len(lines) == 7
    assert lines[2].split() == ["#", "score", "image", "camera", "time", "(UTC)", "male", "◆"]
    assert re.search(r"red\.jpg +door +2026-11-23 14:30:00 ", lines[3])
    document = json.loads(sal("search", "-a", "male", "-g", gallery, "--meta", "zone=north", "--json")[1])
    assert [(hit["camera"], hit["metadata"]) for hit in document["hits"]] == [("yard", {"zone": "north"})]
    assert document["query"]["conditions"] == ["zone north"]
    code, out, err = sal("search", "-a", "male", "-g", gallery, "--until", "2001-01-01")
    assert (code, out.splitlines()[-1], err) == (0, "none of 6 images fulfils these conditions", "")
    check_one_error(
        sal("search", "-a", "male", "-g", gallery, "--camera", "dor"), 2, "no camera 'dor'; there are: door"
    )
    check_one_error(sal("search", "-a", "male", "-g", gallery, "--meta", "zon=n"), 2, "no metadata 'zon'", "zone")
    shown = sal("gallery", "status", gallery)[1]
    assert "cameras  door (1), yard (1)\n" in shown
    assert "zone     north (1)\n" in shown
    recorded = json.loads(sal("gallery", "status", gallery, "--json")[1])
    assert recorded["cameras"] == {"distinct": 2, "counts": {"door": 1, "yard": 1}}
    assert recorded["metadata"]["zone"]["counts"] == {"north": 1}
    assert sal("gallery", "remove", gallery, "--until", "2026-11-23T14:30") == (0, "removed 0 images\n", "")
    assert sal("gallery", "remove", gallery, "--until", "2026-11-23T14:31") == (0, "removed 1 image\n", "")
    assert sal("gallery", "purge", gallery, "--older-than", "0m", "--meta", "zone=north")[1] == "removed 1 image\n"
    check_one_error(sal("gallery", "remove", gallery), 2, "either the names of images", "--camera")
    check_one_error(sal("gallery", "remove", gallery, "a.jpg", "--camera", "c"), 2, "either the names of images")
    check_one_error(sal("search", "-a", "male", "-g", gallery, "--meta", "zone"), 2, "KEY=VALUE")
    check_one_error(sal("search", "-a", "male", "-g", gallery, "--from", "noon"), 2, "noon", "ISO 8601")


def test_reindexing_a_gallery(folder: Path, bundle: Path, sal: Sal, tmp_path: Path) -> None:
    gallery, other = tmp_path / "yard.sal", make_tiny_bundle(tmp_path / "other", "other", seed=1)
    sal("gallery", "add", gallery, folder)
    check_one_error(sal("gallery", "reindex", gallery, "--bundle", bundle), 2, "already", "nothing to do")
    assert sal("gallery", "reindex", gallery, "-b", other) == (0, "6 encoded, 0 encoded before, 0 dropped\n", "")
    assert sal("gallery", "verify", gallery) == (0, "ok\n", "")
    assert json.loads(sal("gallery", "status", gallery, "--json")[1])["bundle"] == "other"
    check_one_error(sal("search", "-a", "male", "-g", gallery), 2, "was made by bundle other", "`sal gallery reindex`")
    assert sal("search", "-a", "male", "-g", gallery, "-b", other)[0] == 0


def test_the_gallery_of_a_folder(folder: Path, sal: Sal) -> None:
    check_one_error(sal("gallery", "status", folder), 2, "no such gallery", "search the folder once")
    assert sal("gallery", "add", folder)[:2] == (0, "6 added, 0 changed, 0 removed, 0 unchanged\n")
    write_image(folder / "new.jpg", (1, 2, 3))
    (folder / "red.jpg").unlink()
    code, out, _ = sal("gallery", "status", folder)
    assert code == 0
    assert "images   6" in out
    assert "pending  1 new, 1 removed" in out
    assert sal("gallery", "purge", folder, "--older-than", "30d") == (0, "removed 0 images\n", "")
    tried = sal("gallery", "remove", folder, "green.PNG", "--dry-run", "--delete-files", "--list")
    assert tried == (0, "green.PNG\n", f"would delete {folder / 'green.PNG'}\nwould remove 1 image\n")
    code, _, err = sal("gallery", "purge", folder, "--older-than", "0m", "--camera", "roof")
    assert (code, err) == (0, "sal: note: no camera 'roof'; no image has one\n")
    check_one_error(sal("gallery", "add", folder, folder / "green.PNG"), 2, "from there only")
    check_one_error(sal("gallery", "add", folder.with_name("crops.sal"), folder / "green.PNG"), 2, "follows the folder")
    assert sal("gallery", "add", folder)[1] == "1 added, 0 changed, 1 removed, 5 unchanged\n"
    sal("gallery", "remove", folder, "green.PNG")
    (folder / "green.PNG").rename(folder / "another name.PNG")
    code, out, err = sal("search", "-g", folder, "-a", "male", "--json")
    assert (code, err, "another name.PNG" in out) == (0, "", False)
    code, out, _ = sal("gallery", "add", folder)
    held_back = "1 held back: removed from the gallery before; --forget adds them again\n"
    assert (code, out) == (0, f"0 added, 0 changed, 0 removed, 5 unchanged\n{held_back}")
    assert "removed  1, kept as hashes only" in sal("gallery", "status", folder)[1]
    assert sal("gallery", "add", folder, "--forget")[1] == "1 added, 0 changed, 0 removed, 5 unchanged\n"
    assert json.loads(sal("gallery", "status", folder, "--json")[1])["held_back"] == 0
    assert "up to date" in sal("gallery", "status", folder)[1]


def test_mistakes_with_galleries(folder: Path, sal: Sal, tmp_path: Path) -> None:
    path = tmp_path / "yard.sal"
    check_one_error(sal("gallery", "add", path), 2, "nothing to add")
    check_one_error(sal("gallery", "add", path, tmp_path / "missing.jpg"), 2, "no such file", "missing.jpg")
    check_one_error(sal("gallery", "add", path, folder, "--captured-at", "noon"), 2, "noon", "ISO 8601", "or mtime")
    check_one_error(sal("search", "-a", "male", "-g", folder, "--from", "mtime"), 2, "'mtime'", "yesterday", "-2h")
    assert sal("gallery", "add", path, folder / "notes.txt")[0] == 1
    assert not path.exists()
    sal("gallery", "add", path, folder)
    check_one_error(sal("gallery", "purge", path, "--older-than", "soon"), 2, "soon", "30d")
    check_one_error(sal("gallery", "verify", tmp_path / "none.sal"), 2, "no such gallery")


def test_verify_names_what_is_wrong_and_fails(folder: Path, sal: Sal) -> None:
    sal("gallery", "add", folder)
    path = folder.with_name("crops.sal")
    with Gallery.open(path) as gallery:
        ids, vectors = stored_vectors(gallery)
        (item,) = gallery.items(ids[2:3])
    data = path.read_bytes()
    damaged = data.replace(vectors[2].tobytes(), np.roll(vectors[2], 1).tobytes())
    path.write_bytes(damaged)
    code, out, _ = sal("gallery", "verify", folder)
    assert code == 1
    assert out == f"{item.uri}: its vector has changed since it was added\n"
    code, out, _ = sal("gallery", "verify", folder, "--json")
    assert json.loads(out)["ok"] is False


def without_escapes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize(("num_terms", "width", "expected"), [(2, 80, 2), (5, 80, 5), (12, 80, 0), (12, 200, 12)])
def test_evidence_has_as_many_columns_as_fit(
    num_terms: int,
    width: int,
    expected: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = made_up_result(tmp_path, num_terms)
    table, _ = hits_table(result, width)
    assert len(table.columns) - 3 == (expected or 1)
    assert (table.columns[-1].header == "weakest evidence") == (expected == 0)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_hits(result)
    assert max(map(len, without_escapes(capsys.readouterr().out).splitlines())) <= width


def test_a_pipe_gets_names_and_evidence_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = made_up_result(tmp_path, 12)
    long_name = f"{'deep/' * 40}crop.jpg"
    first = replace(result.hits[0], item=replace(result.hits[0].item, uri=long_name))
    print_hits(replace(result, hits=(first, *result.hits[1:])))
    lines = capsys.readouterr().out.splitlines()
    assert long_name in lines[2]
    assert all(term.understood in lines[1] for term in result.terms)


def test_searching_imports_neither_torch_nor_what_it_does_not_need(folder: Path, bundle: Path) -> None:
    code = (
        "import sys; from sal_cli import app as cli\n"
        "try:\n"
        f"    cli.main(['search', '-a', 'male', '-g', {str(folder)!r}, '-b', {str(bundle)!r}, '--json'])\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'torch', 'torchvision', 'onnx', 'pandas', 'scipy', 'sal_train', 'sal_export'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    root = Path(cli.__file__).parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    finished = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["gallery"]["items"] == 6


def test_galleries_travel_as_parquet(folder: Path, sal: Sal, bundle: Path, tmp_path: Path) -> None:
    gallery, copy, table = tmp_path / "yard.sal", tmp_path / "copy.sal", tmp_path / "yard.parquet"
    sal("gallery", "add", gallery, folder, "--camera", "yard", "--meta", "zone=n")
    assert sal("gallery", "export", gallery, table) == (0, "exported 6 images\n", "")
    assert sal("gallery", "import", copy, table) == (0, "imported 6 images\n", "")
    found = [json.loads(sal("search", "-a", "male", "-g", place, "--json")[1])["hits"] for place in (gallery, copy)]
    assert found[0] == found[1]
    assert found[0][0]["metadata"] == {"zone": "n"}
    other = make_tiny_bundle(tmp_path / "other", "other", seed=1)
    refused = tmp_path / "refused.sal"
    check_one_error(sal("gallery", "import", refused, table, "-b", other), 2, "bundle tiny", "other")
    assert not refused.exists()
    check_one_error(sal("gallery", "import", refused, folder / "notes.txt"), 2, "notes.txt")
    check_one_error(sal("gallery", "export", tmp_path / "none.sal", table), 2, "no such gallery")


def test_a_collection_of_milvus_is_a_gallery(folder: Path, sal: Sal, tmp_path: Path) -> None:
    gallery, table, collection = tmp_path / "yard.sal", tmp_path / "yard.parquet", f"{tmp_path}/milvus.db/yard"
    sal("gallery", "add", gallery, folder, "--camera", "yard")
    sal("gallery", "export", gallery, table)
    assert sal("gallery", "import", collection, table)[:2] == (0, "imported 6 images\n")
    found = [
        json.loads(sal("search", "-a", "male", "-g", place, "--camera", "yard", "--json")[1])["hits"]
        for place in (gallery, collection)
    ]
    assert [hit["uri"] for hit in found[0]] == [hit["uri"] for hit in found[1]]
    assert [hit["score"] for hit in found[0]] == pytest.approx([hit["score"] for hit in found[1]], abs=1e-6)
    check_one_error(sal("search", "-a", "male", "-g", f"{tmp_path}/milvus.db/none"), 2, "no collection none")
    check_one_error(sal("search", "-a", "male", "-g", "http://localhost:1"), 2, "names no collection")
    check_one_error(sal("search", "-a", "male", "-g", collection, "--approximate"), 2, "(--approximate)")


def test_an_approximate_index(folder: Path, sal: Sal, tmp_path: Path) -> None:
    gallery = tmp_path / "yard.sal"
    sal("gallery", "add", gallery, folder)
    check_one_error(sal("search", "-a", "male", "-g", gallery, "--approximate"), 2, "yard.sal.index")
    assert sal("gallery", "index", gallery) == (0, f"{gallery}.index\n", "")
    found = [
        [hit["uri"] for hit in json.loads(sal("search", "-a", "male", "-g", gallery, "--json", *more)[1])["hits"]]
        for more in ((), ("--approximate",))
    ]
    assert found[0] == found[1]


def test_encoding_an_archive_says_what_it_came_to(
    folder: Path, sal: Sal, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work itself is tested in runtime/test_bulk_ray.py."""
    asked: list[tuple[object, ...]] = []

    def encode_archive(*arguments: object) -> ray.ArchiveReport:
        asked.append(arguments[:-1])
        return ray.ArchiveReport(images=6, failed=1, parts=1, unchanged=0)

    monkeypatch.setattr(ray, "encode_archive", encode_archive)
    code, out, _ = sal("gallery", "encode", folder, "--out", tmp_path / "parts", "--workers", 3, "--precision", "int8")
    assert (code, out) == (1, "6 images in 1 files, 0 of them from an earlier run; 1 failed\n")
    assert asked == [(folder, bundle, tmp_path / "parts", "cpu", "int8", 3, None)]


def test_status_says_what_a_deleted_folder_left_behind(folder: Path, sal: Sal) -> None:
    sal("gallery", "add", folder)
    left = folder.with_name("crops.sal")
    assert "rm " not in sal("gallery", "status", left)[1]
    folder.rename(folder.with_name("moved"))
    assert sal("gallery", "status", left)[1].endswith(f"to forget them:\n         rm {left}\n")
    assert json.loads(sal("gallery", "status", left, "--json")[1])["left_behind"] == [str(left)]
    check_one_error(sal("gallery", "status", folder), 2, "crops.sal is there")
