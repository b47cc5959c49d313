"""Tables of crops: what a row says of its image, and how a mistake is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sal_cli.crop_table import read_crop_table
from sal_cli.manage import update_gallery
from sal_runtime.errors import InputError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.update import Capture
from tests.runtime.gallery_images import make_folder
from tests.runtime.tiny_bundle import make_tiny_bundle

MOMENT = "2026-11-23T14:00+01:00"
EXPECTED = Capture("door", MOMENT, {"zone": "north, east", "score": "0.5"}, "7", (1, 2, 30, 40))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "crops")


@pytest.mark.parametrize(
    "text",
    [
        f'image,camera,captured_at,track,box,zone,score\nred.jpg,door,{MOMENT},7,1 2 30 40,"north, east",0.5\n',
        f"\ufeffscore;zone;x;y;width;height;track;captured_at;camera;image\r\n"
        f'0.5;"north, east";1;2;30;40;7;{MOMENT};door;red.jpg\r\n\r\n',
        f"image\tcamera\tcaptured_at\ttrack\tbox\tzone\tscore\tempty\nred.jpg\tdoor\t{MOMENT}\t7\t[1, 2, 30, 40]\t"
        "north, east\t0.5\t",
    ],
)
def test_a_csv_row_says_what_is_known_of_an_image(text: str, folder: Path) -> None:
    table = folder / "crops.csv"
    table.write_text(text, encoding="utf-8", newline="")
    assert read_crop_table(table) == {str(folder / "red.jpg"): EXPECTED}


def test_a_json_line_says_the_same(folder: Path) -> None:
    row = {"image": "red.jpg", "camera": "door", "captured_at": MOMENT, "track": 7, "box": [1, 2, 30, 40]}
    (folder / "crops.jsonl").write_text(json.dumps({**row, "zone": "north, east", "score": 0.5, "none": None}) + "\n\n")
    assert read_crop_table(folder / "crops.jsonl") == {str(folder / "red.jpg"): EXPECTED}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "line 1: expected each column named once"),
        ("photo,track\nred.jpg,1\n", "line 1: expected each column named once"),
        ("image,track,track\nred.jpg,1,1\n", "line 1: expected each column named once"),
        ("image,track\n", "no rows"),
        ("image,track\nred.jpg\n", "line 2: 1 cells, the header has 2"),
        ("image,track\nred.jpg,1\nblue.jpg,1\n", "line 3, column image: there is no file"),
        ("image,track\n,1\n", "line 2, column image: is empty"),
        ("image\nred.jpg\ncam 1/../red.jpg\n", "line 3, column image: is the image of line 2, too"),
        ("image,captured_at\nred.jpg,noon\n", "line 2, column captured_at: got the moment 'noon'"),
        ("image,box\nred.jpg,1 2 3\n", "line 2, column box: got '1 2 3'"),
        ("image,box\nred.jpg,1 2 nan 4\n", "line 2, column box"),
        ("image,box\nred.jpg,1 2 0 4\n", "line 2, column box"),
        ("image,x,y,width,height\nred.jpg,1,2,,4\n", "line 2, column x, y, width, height: got"),
        ('image,track\nred.jpg,"1\n', "is not CSV"),
    ],
)
def test_a_mistake_is_named_by_line_and_column(text: str, expected: str, folder: Path) -> None:
    (folder / "crops.csv").write_text(text)
    with pytest.raises(InputError) as raised:
        read_crop_table(folder / "crops.csv")
    assert expected in str(raised.value)
    assert "crops.csv" in str(raised.value)


@pytest.mark.parametrize("line", ["{", "[]", '{"image": "red.jpg", "zone": ["a"]}', '{"image": "red.jpg", "m": {}}'])
def test_a_wrong_json_line_is_named(line: str, folder: Path) -> None:
    (folder / "crops.jsonl").write_text('{"image": "green.PNG"}\n' + line)
    with pytest.raises(InputError, match="line 2"):
        read_crop_table(folder / "crops.jsonl")


def test_the_images_of_a_table_are_added_with_what_it_says(folder: Path, tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "tiny")
    (folder / "crops.csv").write_text("image,track,zone\nred.jpg,7,north\ncam 1/blue.bmp,,\n")
    captures = read_crop_table(folder / "crops.csv")
    capture = Capture("door", track="1", metadata={"zone": "south", "day": "monday"})
    for _ in range(2):
        report = update_gallery(tmp_path / "g.sal", [], bundle, "cpu", capture=capture, captures=captures)
    assert (report.added, report.unchanged) == (0, 2)
    with Gallery.open(tmp_path / "g.sal") as gallery:
        blue, red = gallery.all_items()
    assert (red.camera, red.track, dict(red.metadata)) == ("door", "7", {"zone": "north", "day": "monday"})
    assert (blue.camera, blue.track, dict(blue.metadata)) == ("door", "1", {"zone": "south", "day": "monday"})
