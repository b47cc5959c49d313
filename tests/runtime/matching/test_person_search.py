"""Search from words to hits, against scores computed by hand from the closed form of the tiny bundle."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sal_cli.manage import update_gallery
from sal_export.bundle_writing import write_bundle
from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.encoding.encoders import ImageEncoder
from sal_runtime.errors import BundleError, InputError, SalError, SchemaError
from sal_runtime.gallery.choices import choose_bundle_path
from sal_runtime.gallery.folder import gallery_path_for
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.images.pixels import load_image
from sal_runtime.matching import open_and_ask, person_search
from sal_runtime.matching.open_and_ask import search
from sal_runtime.matching.person_search import PersonSearch
from tests.runtime.gallery_contents import stored_vectors
from tests.runtime.gallery_images import IMAGE_URIS, add_unreadable, make_folder
from tests.runtime.memory_gallery import MemoryGallery
from tests.runtime.tiny_bundle import (
    DIM,
    HEAD_WEIGHT,
    SCHEMA,
    embed_attributes,
    embed_image,
    make_tiny_bundle,
)

FULL_QUERY = "hat,!backpack,female,upper=red,lower=none"
FULL_VECTOR = np.array([[1, 0, 1, 1, 0, 0, 0, 0]], dtype=np.uint8)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "crops")


def test_a_full_query_ranks_by_the_cosine_of_its_vector(folder: Path, bundle: Bundle) -> None:
    result = search(folder, FULL_QUERY, bundle=bundle)
    embeddings = {uri: embed_image(load_image(folder / uri, bundle.image_spec)[None])[0] for uri in IMAGE_URIS}
    cosines = {uri: float(vector @ embed_attributes(FULL_VECTOR)[0]) for uri, vector in embeddings.items()}
    assert [hit.uri for hit in result.hits] == sorted(cosines, key=lambda uri: -cosines[uri])
    assert [hit.rank for hit in result.hits] == [1, 2, 3, 4, 5, 6]
    for hit in result.hits:
        assert hit.score == pytest.approx(cosines[hit.uri], abs=1e-5)
        assert hit.path == folder / hit.uri
        assert hit.likelihood is None  # the tiny bundle is not calibrated
        hat, backpack = (1 / (1 + np.exp(-4.0 * HEAD_WEIGHT[bit] @ embeddings[hit.uri])) for bit in (0, 1))
        assert hit.evidence["hat"] == pytest.approx(hat, abs=1e-5)
        assert hit.evidence["!backpack"] == pytest.approx(1 - backpack, abs=1e-5)
    assert result.num_encoded == 6
    assert result.num_items == 6


def test_the_second_search_encodes_nothing_and_says_the_same(folder: Path, bundle: Bundle) -> None:
    first = search(folder, "male,upper=red|blue", bundle=bundle, k=3)
    second = search(folder, "male,upper=red|blue", bundle=bundle, k=3)
    assert (first.num_encoded, second.num_encoded) == (6, 0)
    assert first.hits == second.hits
    assert len(first.hits) == 3


def test_the_query_is_told_back(folder: Path, bundle: Bundle) -> None:
    result = search(folder, " Rucksack , !hat,male, upper = red|blue,!lower=red", bundle=bundle)
    assert [(term.understood, term.sensitive) for term in result.terms] == [
        ("backpack", False),
        ("not hat", False),
        ("male", True),
        ("upper-colour red or blue", False),
        ("not lower-colour red", False),
    ]
    document = json.loads(json.dumps(result.to_json()))
    assert [term["understood"] for term in document["query"]["terms"]][2] == "male"
    assert document["hits"][0]["rank"] == 1
    assert set(document["hits"][0]["evidence"]) == {term["text"] for term in document["query"]["terms"]}


def test_a_gallery_file_is_searched_directly(folder: Path, bundle: Bundle) -> None:
    by_folder = search(folder, "hat", bundle=bundle)
    path = folder.with_name("crops.sal")
    assert search(path, "hat", bundle=bundle).hits == by_folder.hits
    with Gallery.open(path) as gallery:
        assert PersonSearch(bundle, gallery).ask("hat").hits == by_folder.hits
        with pytest.raises(InputError, match="ask it through PersonSearch"):
            search(gallery, "hat")  # type: ignore[arg-type]


def test_a_folder_that_is_gone_leaves_a_gallery_that_is_named(folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    search(folder, "hat", bundle=bundle)
    folder.rename(tmp_path / "elsewhere")
    for gone in (folder, f"{folder}{os.sep}"):
        with pytest.raises(InputError, match=r"no such folder or gallery file; \S+crops\.sal still holds the vectors"):
            search(gone, "hat", bundle=bundle)
    with pytest.raises(InputError, match=r"no such folder or gallery file$"):
        search(tmp_path / "never", "hat", bundle=bundle)


def test_an_argument_that_can_have_no_effect_is_refused(folder: Path, bundle: Bundle) -> None:
    search(folder, "hat", bundle=bundle)
    for place in (folder.with_name("crops.sal"), "http://127.0.0.1:1/yard"):
        for setting in ({"device": "cuda"}, {"precision": "fp32"}):
            with pytest.raises(InputError, match=f"got {next(iter(setting))}") as refused:
                search(place, "hat", bundle=bundle, **setting)  # type: ignore[arg-type]
            assert refused.value.parameter in setting
    with pytest.raises(InputError, match="only a gallery file has an approximate index"):
        PersonSearch(bundle, MemoryGallery(bundle.fingerprint, DIM), approximate=True)


def test_a_search_opens_the_gallery_file_once_and_parses_the_query_once(
    folder: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(folder, "hat", bundle=bundle)
    calls: list[str] = []
    opened, parsed = Gallery.open, open_and_ask.parse_query
    monkeypatch.setattr(Gallery, "open", lambda *arguments: calls.append("open") or opened(*arguments))
    for module in (open_and_ask, person_search):
        monkeypatch.setattr(module, "parse_query", lambda *arguments: calls.append("parse") or parsed(*arguments))
    search(folder, "hat", bundle=bundle)
    assert sorted(calls) == ["open", "parse"]


def test_a_result_reads_well_in_a_notebook(folder: Path, bundle: Bundle) -> None:
    result = search(folder, "hat", bundle=bundle)
    assert len(result) == 6
    assert [hit.rank for hit in result] == [1, 2, 3, 4, 5, 6]
    first, *hits, last = repr(result).splitlines()
    assert first == "SearchResult('hat': 6 hits of 6 images)"
    assert hits[0] == f"  Hit(1, {result.hits[0].uri!r}, score={result.hits[0].score:.3f})"
    assert last == "  ... 1 more"


def test_an_image_that_is_removed_while_it_is_ranked_is_no_hit(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.eye(DIM, dtype=np.float32)[:4]
    with Gallery.create(tmp_path / "yard.sal", bundle) as gallery:
        gallery.add([GalleryItem(f"{number}.jpg") for number in range(4)], vectors)
        rank = gallery._ranker.top_k

        def remove_one(*arguments: Any) -> Any:
            ranked = rank(*arguments)
            gallery.remove(["2.jpg"])
            return ranked

        monkeypatch.setattr(gallery._ranker, "top_k", remove_one)
        hits = PersonSearch(bundle, gallery).ask("hat", k=4).hits
    assert sorted(hit.uri for hit in hits) == ["0.jpg", "1.jpg", "3.jpg"]


def test_equal_scores_keep_the_order_of_the_gallery(tmp_path: Path, bundle: Bundle) -> None:
    with Gallery.create(tmp_path / "same.sal", bundle) as gallery:
        vectors = np.tile(np.eye(DIM, dtype=np.float32)[:1], (50, 1))
        gallery.add([GalleryItem(f"{number}.jpg") for number in range(50)], vectors)
        hits = PersonSearch(bundle, gallery).ask("hat", k=10).hits
    assert [hit.uri for hit in hits] == [f"{number}.jpg" for number in range(10)]


def test_unreadable_images_are_in_the_answer(folder: Path, bundle: Bundle) -> None:
    names = add_unreadable(folder)
    result = search(folder, "hat", bundle=bundle)
    assert len(result.hits) == 6
    assert sorted(Path(path).name for path, _ in result.failed) == sorted(names)
    assert sorted(Path(entry["path"]).name for entry in result.to_json()["failed"]) == sorted(names)


@pytest.mark.parametrize(
    ("attrs", "error", "message"),
    [
        ("", SchemaError, "empty"),
        ("hatt", SchemaError, "did you mean hat"),
        ("male,female", SchemaError, "contradict"),
    ],
)
def test_a_mistake_in_the_query_costs_no_encoding(
    attrs: str, error: type[SalError], message: str, folder: Path, bundle: Bundle
) -> None:
    with pytest.raises(error, match=message):
        search(folder, attrs, bundle=bundle)
    assert not folder.with_name("crops.sal").exists()


def test_things_that_cannot_be_searched(folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder or gallery"):
        search(tmp_path / "missing", "hat", bundle=bundle)
    with pytest.raises(InputError, match="not a gallery file"):
        search(folder / "notes.txt", "hat", bundle=bundle)
    Gallery.create(tmp_path / "empty.sal", bundle).close()
    with pytest.raises(InputError, match="is empty"):
        search(tmp_path / "empty.sal", "hat", bundle=bundle)
    with pytest.raises(InputError, match="at least 1"):
        search(folder, "hat", bundle=bundle, k=0)
    search(folder, "hat", bundle=bundle)
    other = make_tiny_bundle(tmp_path / "other", seed=1)
    for place in (folder, folder.with_name("crops.sal")):
        with pytest.raises(InputError, match="was made by bundle tiny"):
            search(place, "hat", bundle=other)


def test_which_bundle_is_used(folder: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAL_BUNDLE", raising=False)
    monkeypatch.setattr("sal_runtime.gallery.choices.default_bundle_path", lambda: Path("shipped"))
    assert choose_bundle_path(None) == Path("shipped")
    search(folder, "hat", bundle=bundle)
    assert search(folder, "hat").bundle_fingerprint == bundle.fingerprint
    with Gallery.open(folder.with_name("crops.sal")) as gallery:
        assert choose_bundle_path(None, gallery) == bundle.path
        monkeypatch.setenv("SAL_BUNDLE", "from-environment")
        assert choose_bundle_path(None, gallery) == Path("from-environment")
        assert choose_bundle_path("named", gallery) == Path("named")


def test_no_bundle_at_all_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAL_BUNDLE", raising=False)
    monkeypatch.setattr("sal_runtime.bundle.shipped.SHIPPED_NAME", "nowhere")
    with pytest.raises(BundleError, match="name a bundle, or set"):
        choose_bundle_path(None)


def test_every_word_of_the_schema_can_be_searched(folder: Path, bundle: Bundle) -> None:
    for group in SCHEMA.groups:
        for state in group.states:
            assert len(search(folder, f"{group.name}={state.name}", bundle=bundle).hits) == 6


def test_a_gallery_stays_in_the_precision_it_was_made_in(folder: Path, tmp_path: Path) -> None:
    """The int8 encoder of this bundle is another graph, so its embeddings tell which one made them."""
    source = open_bundle(make_tiny_bundle(tmp_path / "both"))
    other = open_bundle(make_tiny_bundle(tmp_path / "other", seed=3)).read_bytes("image_encoder.onnx")
    manifest = json.loads((tmp_path / "both" / "manifest.json").read_text())
    manifest["artefacts"].append({"role": "image_encoder", "file": "image_encoder.int8.onnx", "precision": "int8"})
    files = {file: source.read_bytes(file) for file in source.manifest["files"]} | {"image_encoder.int8.onnx": other}
    both = write_bundle(tmp_path / "both", manifest, files)
    assert both.fingerprint == source.fingerprint  # galleries of the bundle without int8 stay valid

    def embeddings() -> np.ndarray:
        with Gallery.open(gallery_path_for(folder)) as gallery:
            return stored_vectors(gallery)[1]

    search(folder, "hat", bundle=both, precision="int8")
    made = embeddings()
    crops = np.stack([load_image(folder / uri, both.image_spec) for uri in sorted(IMAGE_URIS)])
    assert np.allclose(made, ImageEncoder(both, precision="int8").encode(crops), atol=1e-6)
    assert not np.allclose(made, ImageEncoder(both).encode(crops), atol=1e-2)

    (folder / IMAGE_URIS[0]).unlink()
    assert search(folder, "hat", bundle=both).num_items == 5  # takes the gallery's precision by itself
    with pytest.raises(InputError, match=r"encoded in int8, asked for fp32; ask for no precision"):
        search(folder, "hat", bundle=both, precision="fp32")
    with pytest.raises(InputError, match="encoded in int8, asked for fp32"):
        update_gallery(folder, [], both.path, "cpu", precision="fp32")
    assert len(embeddings()) == 5


def test_a_new_image_beside_a_gallery_that_may_only_be_read_is_ranked_with_the_others(
    folder: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(folder, "hat", bundle=bundle)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: access(path, mode) and (mode != os.W_OK or "cache" in Path(path).parts)
    )
    (folder / "new.jpg").write_bytes((folder / IMAGE_URIS[0]).read_bytes())
    for num_encoded in (1, 0):
        result = search(folder, "hat", bundle=bundle)
        assert (result.num_encoded, result.num_items) == (num_encoded, len(IMAGE_URIS) + 1)
        assert {hit.uri for hit in result.hits} == {*IMAGE_URIS, "new.jpg"}


def test_a_gallery_from_before_precisions_is_in_fp32(folder: Path, bundle: Bundle) -> None:
    search(folder, "hat", bundle=bundle)
    path = gallery_path_for(folder)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM meta WHERE key = 'precision'")
    connection.close()
    assert search(folder, "hat", bundle=bundle, precision="fp32").num_encoded == 0
    with pytest.raises(InputError, match="encoded in fp32, asked for int8"):
        search(folder, "hat", bundle=bundle, precision="int8")
