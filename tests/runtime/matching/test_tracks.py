"""Answers by track, against groups made by hand from the order of all images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.errors import InputError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem, ItemFilter
from sal_runtime.matching.open_and_ask import search
from sal_runtime.matching.person_search import PersonSearch
from sal_runtime.matching.tracks import ask_by_track
from tests.runtime.gallery_images import make_folder
from tests.runtime.made_up_items import unit_vectors
from tests.runtime.tiny_bundle import make_tiny_bundle

NUM_IMAGES = 400


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


def fill(path: Path, bundle: Bundle, items: list[GalleryItem]) -> Path:
    with Gallery.create(path, bundle) as gallery:
        gallery.add(items, unit_vectors(len(items), bundle.embedding_dim, seed=3))
    return path


@pytest.fixture(scope="module")
def yard(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One long track, many short ones with names that two cameras share, and images without a track."""
    rng = np.random.default_rng(5)
    items = []
    for number in range(NUM_IMAGES):
        track = None if number % 10 == 0 else "long" if number < 200 else str(rng.integers(12))
        items.append(GalleryItem(f"{number:03}.jpg", camera=("door", "yard", None)[number % 3], track=track))
    return fill(tmp_path_factory.mktemp("yard") / "yard.sal", bundle, items)


def grouped_by_hand(uris_and_items: list[GalleryItem]) -> list[list[str]]:
    groups: list[list[GalleryItem]] = []
    for item in uris_and_items:
        for group in groups:
            same = (group[0].camera, group[0].track) == (item.camera, item.track)
            if same and item.track is not None:
                group.append(item)
                break
        else:
            groups.append([item])
    return [[item.uri for item in group] for group in groups]


@pytest.mark.parametrize("where", [None, ItemFilter(cameras=["door"]), ItemFilter(tracks=["3", "4"])], ids=str)
@pytest.mark.parametrize("k", [1, 3, 20, 1000])
def test_k_tracks_are_found_with_all_their_images(k: int, where: ItemFilter | None, yard: Path, bundle: Bundle) -> None:
    with Gallery.open(yard) as gallery:
        asked = PersonSearch(bundle, gallery)
        every = asked.ask("male,backpack", NUM_IMAGES, where=where)
        found = ask_by_track(asked, "male,backpack", k, where)
    expected = grouped_by_hand([hit.item for hit in every])[:k]
    assert [[hit.uri, *(other.uri for other in hit.others)] for hit in found] == expected
    assert [hit.rank for hit in found] == list(range(1, len(expected) + 1))
    assert found.grouped
    assert not every.grouped
    assert {other.rank - hit.rank for hit in found for other in hit.others} <= {0}


def test_a_result_is_grouped_after_it_was_made(yard: Path, bundle: Bundle) -> None:
    result = search(yard, "male", 50, bundle=bundle)
    grouped = result.by_track()
    assert [[hit.uri, *(other.uri for other in hit.others)] for hit in grouped] == grouped_by_hand(
        [hit.item for hit in result]
    )
    assert grouped.num_items == NUM_IMAGES
    document = json.loads(json.dumps(grouped.to_json()))
    assert document["grouped"]
    assert sum(1 + len(hit.get("others", ())) for hit in document["hits"]) == 50
    best = [hit.uri for hit in search(yard, "male", 3, bundle=bundle, by_track=True)]
    assert best == [hit.uri for hit in grouped][:3]


def test_a_gallery_without_tracks_cannot_be_grouped(tmp_path: Path, bundle: Bundle) -> None:
    folder = make_folder(tmp_path / "crops")
    with pytest.raises(InputError, match="no image has a track") as error:
        search(folder, "male", bundle=bundle, by_track=True)
    assert error.value.parameter == "by_track"
    assert len(search(folder, "male", bundle=bundle).by_track()) == 6  # each image is one of its own


def test_an_approximate_index_does_not_group(yard: Path, bundle: Bundle) -> None:
    with pytest.raises(InputError, match="cannot find all images of a track"):
        search(yard, "male", bundle=bundle, by_track=True, approximate=True)
