"""A served gallery: questions by description and likeness, marks, pages, and a bundle that takes over meanwhile."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sal_runtime.arrays import Float32Array, UInt8Array
from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.errors import BusyError, ConfigError, InputError, SalError, SchemaError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import ItemFilter
from sal_runtime.gallery.store.crops import delete_crops
from sal_runtime.images.pixels import load_image
from sal_runtime.matching.person_search import PersonSearch
from sal_runtime.matching.scoring import match_scoring, query_information
from sal_runtime.matching.tracks import ask_by_track
from sal_service.galleries import answering, remembered
from sal_service.galleries import served as module
from sal_service.galleries.answers import PictureError, Question
from sal_service.galleries.feedback import EVIDENCE, RIGHT, WRONG, cosine_share, refine, vectors_of
from sal_service.galleries.served import Generation, ServedGallery
from sal_service.video.cameras import Camera
from sal_service.video.detector.detector import Detector
from sal_service.video.intake import KeptCrop
from tests.docs.examples.programs import wait_until
from tests.runtime.calibrated_bundle import make_calibrated_bundle
from tests.runtime.tiny_bundle import SPEC, embed_image, make_tiny_bundle

NOON = 1_764_331_200.0
SECONDS = 60


def no_detector(_: Camera) -> Detector:
    raise AssertionError("no camera is opened here")


def crop(seed: int) -> np.ndarray:
    """A crop of one colour."""
    return np.full((40, 20, 3), np.random.default_rng(seed).integers(0, 256, 3), np.uint8)


@pytest.fixture
def kept() -> list[tuple[str, KeptCrop]]:
    return []


@pytest.fixture
def yard(tmp_path: Path, kept: list[tuple[str, KeptCrop]]) -> Iterator[ServedGallery]:
    """Thirty images of ten tracks of two cameras."""
    bundle = make_calibrated_bundle(tmp_path / "tiny.bundle")
    served = ServedGallery(
        "yard",
        tmp_path / "yard.sal",
        bundle=bundle,
        detector_for=no_detector,
        on_kept=lambda name, crop: kept.append((name, crop)),
    )
    fill(served, 30)
    yield served
    served.close()


def fill(served: ServedGallery, count: int, first: int = 0) -> None:
    answers = [
        served.ingest.intake.submit(
            crop(number), camera=f"c{number % 2}", captured_at=NOON + number, track=f"t{number % 10}"
        )
        for number in range(first, first + count)
    ]
    for answer in answers:
        answer.result(SECONDS)


def uris(served: ServedGallery, question: Question) -> list[str]:
    return [hit.uri for hit in served.ask(question).result.hits]


def test_it_tells_of_what_it_holds(yard: ServedGallery, kept: list[tuple[str, KeptCrop]]) -> None:
    assert {name for name, _ in kept} == {"yard"}
    assert sorted(crop.item.uri for _, crop in kept) == [item.uri for item in yard.gallery.all_items()]


def test_a_description_is_answered_as_person_search_answers_it(yard: ServedGallery) -> None:
    with Gallery.open(yard.gallery.path) as gallery:
        search = PersonSearch(yard.generation.bundle, gallery)
        for where in (ItemFilter(), ItemFilter(cameras=["c1"])):
            question = Question("hat,upper=red", where=where, by_track=False, limit=30)
            assert yard.ask(question).result == search.ask("hat,upper=red", 30, where=where or None)
            page = yard.ask(Question("hat,upper=red", where=where))
            assert page.result == ask_by_track(search, "hat,upper=red", 10, where or None)


@pytest.mark.parametrize("by_track", [True, False])
def test_pages_are_the_answer_in_parts(yard: ServedGallery, by_track: bool) -> None:
    whole = yard.ask(Question("hat", by_track=by_track, limit=100))
    assert whole.next_offset is None
    found, offset = [], 0
    while True:
        page = yard.ask(Question("hat", by_track=by_track, limit=4, offset=offset))
        assert len(page.result.hits) <= 4
        found += page.result.hits
        if page.next_offset is None:
            break
        offset = page.next_offset
    assert [hit.uri for hit in found] == [hit.uri for hit in whole.result.hits]
    assert [hit.rank for hit in found] == list(range(1, len(found) + 1))


def test_newest_first_above_a_likelihood(yard: ServedGallery) -> None:
    best = yard.ask(Question("hat", by_track=False, limit=100)).result
    middle = best.hits[12].likelihood
    assert middle is not None
    page = yard.ask(Question("hat", by_track=False, newest_first=True, min_likelihood=middle, limit=5))
    expected = sorted((hit for hit in best.hits if hit.likelihood >= middle), key=lambda hit: -hit.item.captured_at)
    assert [hit.uri for hit in page.result.hits] == [hit.uri for hit in expected[:5]]
    assert page.next_offset == 5
    tracks = yard.ask(Question("hat", newest_first=True, min_likelihood=middle)).result.hits
    latest = [max(one.item.captured_at for one in (hit, *hit.others)) for hit in tracks]
    assert latest == sorted(latest, reverse=True)


def test_newest_first_says_if_more_are_likely_than_are_ordered(
    yard: ServedGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sal_service.galleries.answers.NEWEST_OF", 5)
    page = yard.ask(Question("hat", by_track=False, newest_first=True, min_likelihood=0.0))
    assert "more than 5 images are likely enough" in page.result.notes[-1]


def test_likeness_is_the_cosine_with_the_mean_and_leaves_out_what_is_known(yard: ServedGallery) -> None:
    names = [item.uri for item in yard.gallery.all_items()]
    vectors = vectors_of(yard.gallery, names)
    mean = vectors[[3, 7]].mean(axis=0)
    expected = [names[row] for row in np.argsort(-(vectors @ mean), kind="stable") if row not in (3, 7)]
    found = yard.ask(Question(like=(names[3], names[7]), by_track=False, limit=28))
    assert [hit.uri for hit in found.result.hits] == expected
    assert all(hit.likelihood is None for hit in found.result.hits)
    by_track = yard.ask(Question(like=(names[3],), limit=28)).result
    assert names[3] not in [one.uri for hit in by_track.hits for one in (hit, *hit.others)]
    assert len(by_track.hits) == 9


def test_a_picture_from_elsewhere(yard: ServedGallery) -> None:
    (item,) = yard.gallery.find([yard.gallery.all_items()[4].uri]).values()
    picture = yard.gallery.image_path(item).read_bytes()
    vector = yard.generation.encode(picture)
    expected = embed_image(load_image(yard.gallery.image_path(item), SPEC)[None])[0]
    np.testing.assert_allclose(vector, expected, atol=1e-5)
    best = yard.ask(Question(picture=picture, by_track=False, limit=1)).result.hits[0]
    assert best.score == pytest.approx(1, abs=1e-5)
    with pytest.raises(PictureError):
        yard.ask(Question(picture=picture[:40]))


def test_a_picture_is_encoded_by_the_bundle_that_answers(
    yard: ServedGallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another bundle takes over after the picture was encoded and before it is compared."""
    other = make_calibrated_bundle(tmp_path / "other.bundle", seed=5)
    item = yard.gallery.all_items()[4]
    before, encode = yard.generation, Generation.encode

    def encode_slowly(self: Generation, content: bytes) -> np.ndarray:
        vector = encode(self, content)
        if self is before:
            yard.swap(other)
        return vector

    monkeypatch.setattr(Generation, "encode", encode_slowly)
    picture = yard.gallery.image_path(item).read_bytes()
    result = yard.ask(Question(picture=picture, by_track=False, limit=1)).result
    assert result.bundle_fingerprint == open_bundle(other).fingerprint
    assert result.hits[0].score == pytest.approx(1, abs=1e-5)


def test_marks_move_the_cosine_and_the_evidence(yard: ServedGallery) -> None:
    names = uris(yard, Question("hat", by_track=False, limit=30))
    search, bundle = yard.generation.search, yard.generation.bundle
    query = search.parse("hat")
    vectors = vectors_of(yard.gallery, names)
    moved = RIGHT * vectors[10:12].mean(axis=0) - WRONG * vectors[:2].mean(axis=0)
    turned = search.query_vector(query) + moved
    turned /= np.linalg.norm(turned)
    share, information = cosine_share(bundle, query), query_information(query, bundle.statistics)
    assert 0 < share < 1
    plain = match_scoring(bundle, query, np.zeros_like(turned))  # only the evidence
    evidence = plain.score(vectors @ plain.directions.T) / (1 - share)
    scores = share * (vectors @ turned) + (1 - share) * (evidence + EVIDENCE * vectors @ moved)
    expected = bundle.calibration.likelihood(scores, 1, information)  # type: ignore[union-attr]
    page = yard.ask(Question("hat", right=tuple(names[10:12]), wrong=tuple(names[:2]), by_track=False, limit=30))
    assert [hit.uri for hit in page.result.hits] == [names[row] for row in np.argsort(-scores, kind="stable")]
    found = {hit.uri: hit for hit in page.result.hits}
    assert [found[name].likelihood for name in names] == pytest.approx(expected.tolist(), abs=1e-5)
    assert max(abs(hit.score) for hit in page.result.hits) <= 1 + 1e-6
    assert uris(yard, Question("hat", by_track=False, limit=30)) == names  # the next question knows nothing of it


def test_without_a_calibration_only_the_cosine_learns(tmp_path: Path) -> None:
    served = ServedGallery(
        "door", tmp_path / "door.sal", bundle=make_tiny_bundle(tmp_path / "t.bundle"), detector_for=no_detector
    )
    fill(served, 12)
    names = uris(served, Question("hat", by_track=False, limit=12))
    search, vectors = served.generation.search, vectors_of(served.gallery, names)
    turned = search.query_vector(search.parse("hat")) + RIGHT * vectors[5]
    scores = vectors @ (turned / np.linalg.norm(turned))
    hits = served.ask(Question("hat", right=(names[5],), by_track=False, limit=12)).result.hits
    assert [hit.score for hit in hits] == pytest.approx(sorted(scores.tolist(), reverse=True), abs=1e-5)
    served.close()


def test_marks_of_a_description_that_fits_everybody_only_turn_it() -> None:
    first, second, third = np.eye(3, dtype=np.float32)
    turned = refine(first, second[None], third[None], 0.0)
    assert turned.tolist() == pytest.approx(
        (np.array([1, RIGHT, -WRONG]) / np.linalg.norm([1, RIGHT, -WRONG])).tolist()
    )
    assert refine(first, np.empty((0, 3), np.float32), np.empty((0, 3), np.float32), 0.5).tolist() == first.tolist()


def test_a_description_is_encoded_once(yard: ServedGallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "MOST_REMEMBERED", 2)
    search = yard.generation.search
    for description in ("hat", "hat", "backpack", "hat", "gender=male", "hat", "backpack"):
        uris(yard, Question(description, by_track=False, limit=1))
    # of descriptions and of vectors: hat, backpack and gender=male were new, and backpack was forgotten
    assert (search.misses, search.hits) == (2 * 4, 2 * 3)


@pytest.mark.parametrize(
    "where",
    [
        {},
        {"cameras": ["c0", "c1"], "tracks": ["t3"]},
        {"cameras": ["c0", "gate"]},
        {"tracks": ["t3", "t99"]},
        {"metadata": {"zone": ["gate"]}},
        {"cameras": [f"c{number}" for number in range(module.FEW_VALUES + 1)]},
    ],
)
def test_names_that_no_image_has(yard: ServedGallery, where: dict) -> None:
    assert yard.unknown_values(ItemFilter(**where)) == yard.gallery.unknown_values(ItemFilter(**where))


@pytest.mark.parametrize(
    ("question", "error", "said"),
    [
        ({"description": "moustache"}, SchemaError, "moustache"),
        ({"like": ("crop:nobody.jpg",)}, InputError, "there is no image crop:nobody.jpg"),
        ({"description": "hat", "right": ("crop:nobody.jpg",)}, InputError, "there is no image crop:nobody.jpg"),
    ],
)
def test_what_is_not_there(yard: ServedGallery, question: dict, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        yard.ask(Question(**question))


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({}, "either a description or images"),
        ({"description": "hat", "like": ("a",)}, "either a description or images"),
        ({"like": ("a",), "min_likelihood": 0.5}, "nothing is known of the likelihood"),
        ({"description": "hat", "newest_first": True}, "needs a min_likelihood"),
    ],
)
def test_what_cannot_be_asked(question: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Question(**question)


def test_an_empty_gallery_has_an_answer(tmp_path: Path) -> None:
    served = ServedGallery(
        "door", tmp_path / "door.sal", bundle=make_tiny_bundle(tmp_path / "t.bundle"), detector_for=no_detector
    )
    result = served.ask(Question("hat")).result
    assert (result.hits, [term.text for term in result.terms]) == ((), ["hat"])
    assert result.notes == ("the gallery has no images yet",)
    assert served.unknown_values(ItemFilter(cameras=["c1"])) == []
    fill(served, 1)
    assert len(served.ask(Question("hat")).result) == 1
    with pytest.raises(ConfigError, match="not calibrated"):
        served.ask(Question("hat", min_likelihood=0.5))
    served.close()


def test_removal_reaches_the_answer_and_the_pictures(yard: ServedGallery) -> None:
    first, second = uris(yard, Question("hat", by_track=False, limit=2))
    picture = yard.gallery.image_path(yard.gallery.find([first])[first])
    assert picture.exists()
    assert yard.remove([first, "crop:nobody.jpg"]) == [first]
    assert not picture.exists()
    assert uris(yard, Question("hat", by_track=False, limit=1)) == [second]
    assert yard.purge(ItemFilter(cameras=["c0"]), NOON + 10, dry_run=True) == yard.purge(
        ItemFilter(cameras=["c0"]), NOON + 10, dry_run=False
    )
    assert all(item.captured_at >= NOON + 10 for item in yard.gallery.all_items(ItemFilter(cameras=["c0"])))
    with pytest.raises(InputError, match="no condition"):
        yard.purge(ItemFilter(), None, dry_run=False)


def test_another_bundle_takes_over_while_it_is_searched_and_filled(yard: ServedGallery, tmp_path: Path) -> None:
    """Each answer is all of one bundle; what was acknowledged is there, encoded by the new one."""
    other = make_calibrated_bundle(tmp_path / "other.bundle", seed=5)
    old, new = yard.generation.bundle.fingerprint, open_bundle(other).fingerprint
    assert old != new
    wrong: list[str] = []
    seen: set[str] = set()
    over = threading.Event()

    def search() -> None:
        while not over.is_set():
            page = yard.ask(Question("hat", by_track=False, limit=5))
            seen.add(page.result.bundle_fingerprint)
            now = {hit.uri: hit.score for hit in page.result.hits}
            if page.result.bundle_fingerprint == new:
                vector = yard.generation.search.query_vector(yard.generation.search.parse("hat"))
                vectors = vectors_of(yard.gallery, [*now])
                if not np.allclose(vectors @ vector, [*now.values()], atol=1e-5):
                    wrong.append("scores are of another bundle")

    def add() -> None:
        number = 100
        while not over.is_set():
            fill(yard, 1, number)
            number += 1

    threads = [threading.Thread(target=target, daemon=True) for target in (search, search, add)]
    for thread in threads:
        thread.start()
    generation = yard.swap(other)
    assert (generation.number, generation.bundle.fingerprint) == (2, new)
    uris(yard, Question("hat"))
    over.set()
    for thread in threads:
        thread.join(SECONDS)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []
    fill(yard, 3, 900)
    items = yard.gallery.all_items()
    assert len(items) == yard.ingest.intake.counts.kept
    encode = generation.encoder.encode
    expected = encode(np.stack([load_image(yard.gallery.image_path(item), SPEC) for item in items]))
    np.testing.assert_allclose(vectors_of(yard.gallery, [item.uri for item in items]), expected, atol=1e-5)


def test_a_swap_that_fails_changes_nothing(yard: ServedGallery, tmp_path: Path) -> None:
    before = uris(yard, Question("hat"))
    yard.gallery.image_path(yard.gallery.all_items()[0]).unlink()
    with pytest.raises(InputError, match="cannot be read any more"):
        yard.swap(make_calibrated_bundle(tmp_path / "other.bundle", seed=5))
    assert uris(yard, Question("hat")) == before
    assert (yard.generation.number, yard.swapping) == (1, None)
    fill(yard, 1, 50)


def test_images_are_removed_while_a_bundle_is_about_to_take_over(
    yard: ServedGallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The swap gives way; neither of the two bundles' vectors of a removed image is left in a file."""
    fill(yard, 70, 200)
    gone = yard.gallery.all_items()[40]
    picture = load_image(yard.gallery.image_path(gone), SPEC)
    other = make_calibrated_bundle(tmp_path / "other.bundle", seed=5)
    before = vectors_of(yard.gallery, [gone.uri])[0]
    encoder_of, removed, turn = module.bulk_image_encoder, list[list[str]](), threading.Lock()
    remover = threading.Thread(target=lambda: removed.append(yard.remove([gone.uri])))

    def slow(*given: Any, **named: Any) -> Any:
        encode = encoder_of(*given, **named).encode

        def encode_in_time(images: UInt8Array) -> Float32Array:
            with turn:  # two threads encode
                if remover.ident is None:
                    remover.start()
                    wait_until(lambda: yard._removals == 1)
            return encode(images)

        return SimpleNamespace(encode=encode_in_time)

    monkeypatch.setattr(module, "bulk_image_encoder", slow)
    generation = yard.swap(other)
    remover.join(SECONDS)
    assert removed == [[gone.uri]]
    assert (generation.number, len(yard.gallery)) == (2, 99)
    after = generation.encoder.encode(picture[None])[0]
    kept = yard.gallery.all_items()[0].uri
    for vector, is_there in ((before, False), (after, False), (vectors_of(yard.gallery, [kept])[0], True)):
        files = [path for path in tmp_path.glob("*yard.sal*") if path.is_file()]
        assert any(vector.tobytes() in file.read_bytes() for file in files) is is_there


def test_a_removal_that_a_killed_service_had_begun_is_finished(
    yard: ServedGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its picture is gone already, so that no other bundle could take over."""

    class KilledError(BaseException):
        pass

    def die(uris: list[str]) -> None:
        delete_crops(path, uris)
        raise KilledError

    path, (gone, *kept) = yard.gallery.path, sorted(item.uri for item in yard.gallery.all_items())
    monkeypatch.setattr(yard.gallery, "remove", die)
    with pytest.raises(KilledError):
        yard.remove([gone])
    yard.close()
    for _ in range(2):
        again = ServedGallery("yard", path, bundle=yard.generation.bundle.path, detector_for=no_detector)
        assert sorted(item.uri for item in again.gallery.all_items()) == kept
        again.close()
    assert [file.name for file in path.parent.glob(".yard*")] == []


def test_what_a_killed_service_had_yet_to_erase_is_erased(yard: ServedGallery) -> None:
    """Somebody read the old bytes when an image was removed; then the process died."""
    gone = yard.gallery.all_items()[7]
    vector = vectors_of(yard.gallery, [gone.uri])[0].tobytes()
    path, log = yard.gallery.path, yard.gallery.path.with_name("yard.sal-wal")
    yard.close()
    reader = sqlite3.connect(path)
    with Gallery.open(path, "w") as gallery:
        reader.execute("BEGIN").execute("SELECT count(*) FROM item").fetchone()
        with pytest.raises(SalError, match="bytes remain"):
            gallery.remove([gone.uri])
        reader.execute("COMMIT")
        assert vector in path.read_bytes() + log.read_bytes()
        gallery._lock.release()  # type: ignore[union-attr]
        again = ServedGallery("yard", path, bundle=yard.generation.bundle.path, detector_for=no_detector)
        again.tidy()
        assert vector not in path.read_bytes() + log.read_bytes()
        again.close()
    reader.close()


def test_names_that_a_killed_removal_was_writing_down_are_gone(yard: ServedGallery) -> None:
    path = yard.gallery.path
    yard.close()
    left = path.with_name(f"..{path.name}.removing.9493-140368678360768.partial")
    left.write_text('["crop:c0/2026-11-29/171741.438-track-1.jpg"]')
    again = ServedGallery("yard", path, bundle=yard.generation.bundle.path, detector_for=no_detector)
    assert not left.exists()
    assert len(again.gallery) == 30
    again.close()


def test_one_swap_at_a_time(yard: ServedGallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = make_calibrated_bundle(tmp_path / "other.bundle", seed=5)
    entered, released = threading.Event(), threading.Event()
    encode = module.encode_generation

    def wait(*given: object) -> object:
        entered.set()
        assert released.wait(SECONDS)
        return encode(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "encode_generation", wait)
    swapping = threading.Thread(target=yard.swap, args=(other,))
    swapping.start()
    assert entered.wait(SECONDS)
    assert yard.swapping == "other.bundle"
    with pytest.raises(BusyError, match="is about to take over"):
        yard.swap(other)
    released.set()
    swapping.join(SECONDS)
    assert yard.generation.number == 2


def test_one_answer_is_computed_at_a_time(yard: ServedGallery, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, over = threading.Semaphore(0), threading.Event()
    compute = answering.answer

    def slow(*arguments: object) -> object:
        entered.release()
        assert over.wait(SECONDS)
        return compute(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(answering, "answer", slow)
    newest = [Question("hat", newest_first=True, min_likelihood=share / 10) for share in range(3)]  # no two are alike
    asking = [threading.Thread(target=yard.ask, args=[question], daemon=True) for question in newest]
    for thread in asking:
        thread.start()
    assert entered.acquire(timeout=SECONDS)
    assert not entered.acquire(timeout=0.2)
    over.set()
    for thread in asking:
        thread.join(SECONDS)
    assert entered.acquire(timeout=0)
    assert entered.acquire(timeout=0)
