"""Search: a description in words against a folder of images or a gallery file, to a ranked answer with its reasons.

    result = search("bundles/edge", "crops/", "male,backpack,!hat", k=20)
    for hit in result.hits:
        print(hit.rank, hit.uri, hit.score, hit.evidence)

A folder is encoded once; later searches only encode what is new or has changed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sal_runtime.backends import ENGINES, DeviceChoice
from sal_runtime.bundle import Bundle, open_bundle
from sal_runtime.default_bundle import choose_bundle_path, choose_precision
from sal_runtime.encode_pipeline import num_encoders
from sal_runtime.encoders import AttributeEncoder, ImageEncoder, LazyImageEncoder
from sal_runtime.errors import InputError
from sal_runtime.folder_gallery import gallery_path_for, sync_folder
from sal_runtime.gallery import Gallery
from sal_runtime.gallery_update import Progress, UpdateReport
from sal_runtime.query import Query, Term, parse_query
from sal_runtime.ranking import best
from sal_runtime.scoring import Rule, score_query

if TYPE_CHECKING:
    from sal_runtime.schema import AttributeSchema

CPU_RUN = 16
"""Images per run of the graph on the CPU: where each core works on a batch of its own, more leave the cache."""


@dataclass(frozen=True)
class AskedTerm:
    """One term of the query, for people.

    Attributes:
        text: in the query language, in full words.
        understood: the same for reading.
        sensitive: whether it asks for a sensitive attribute, such as gender or age.
    """

    text: str
    understood: str
    sensitive: bool


@dataclass(frozen=True)
class Hit:
    """One image of the answer.

    Attributes:
        rank: from 1.
        uri: of the image in its gallery.
        path: where the image should be; it may be gone.
        score: similarity of image and description in the common space, -1..1.
        likelihood: calibrated likelihood that the image matches the whole description, 0..1; None if the bundle holds
            no calibration.
        evidence: probability 0..1 that each asked term holds, by the text of the term.
    """

    rank: int
    uri: str
    path: Path
    score: float
    likelihood: float | None
    evidence: dict[str, float]


@dataclass(frozen=True)
class SearchResult:
    """The answer to a query.

    Attributes:
        query: as it was written.
        terms: of the query.
        hits: best first.
        num_items: images that were ranked.
        num_encoded: images that had to be encoded for it.
        failed: (path, reason) of each image that could not be searched.
        gallery: the gallery file.
        bundle_name: of the encoders.
        bundle_fingerprint: of the encoders.
        device: where images were encoded for it, and why there; None if none had to be.
    """

    query: str
    terms: tuple[AskedTerm, ...]
    hits: tuple[Hit, ...]
    num_items: int
    num_encoded: int
    failed: tuple[tuple[str, str], ...]
    gallery: Path
    bundle_name: str
    bundle_fingerprint: str
    device: DeviceChoice | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON-serialisable form; probabilities and likelihoods are fractions."""
        return {
            "query": {"text": self.query, "terms": [vars(term) for term in self.terms]},
            "gallery": {"path": str(self.gallery), "items": self.num_items, "encoded_now": self.num_encoded},
            "bundle": {"name": self.bundle_name, "fingerprint": self.bundle_fingerprint},
            "device": None if self.device is None else vars(self.device),
            "hits": [{**vars(hit), "path": str(hit.path)} for hit in self.hits],
            "failed": [{"path": path, "reason": reason} for path, reason in self.failed],
        }


def search(
    bundle: Bundle | Path | str | None,
    gallery: Gallery | Path | str,
    attrs: str,
    k: int = 20,
    *,
    rule: Rule = "marginalised",
    device: str = "cpu",
    precision: str | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """Rank a gallery by a description.

    Args:
        bundle: open, or where it is; None takes $SAL_BUNDLE, else the bundle of the gallery, else the shipped one.
        gallery: open, or a gallery file, or a folder of images, of which what is new or changed is encoded first.
        attrs: description in the query language, such as `male,backpack,!hat,upper=red|pink`.
        k: hits wanted; fewer come if the gallery has fewer images.
        rule: how what the description leaves open is dealt with; see `sal_runtime.scoring`.
        device: where images are encoded: `cpu`, `cuda`, `trt`, or `auto` for the best that can be had.
        precision: images are encoded in; None takes that of the gallery, or fp32 for a new one.
        progress: told how far encoding is.

    Raises:
        SchemaError: the description is empty, unknown to the schema, or contradicts itself.
        InputError: there is nothing to search, or the gallery is of another bundle.
        BundleError: the bundle is missing, damaged, or of an unknown format.
        BackendError: the device cannot be had.
    """
    if k < 1:
        raise InputError(f"got k = {k}, expected at least 1 hit to be wanted")
    if isinstance(gallery, Gallery):
        opened = _open(bundle, gallery.path)
        return _rank(opened, gallery, parse_query(attrs, opened.schema), k, rule, None)
    place = Path(gallery)
    if not place.exists():
        raise InputError(f"{place}: there is no such folder or gallery file")
    path = gallery_path_for(place) if place.is_dir() else place
    opened = _open(bundle, path)
    query = parse_query(attrs, opened.schema)  # a mistake in it should not cost the encoding of a folder
    chosen = choose_precision(precision, path)
    encoder = image_encoder(opened, device, chosen)
    report = sync_folder(place, opened, encoder, progress, chosen) if place.is_dir() else None
    with Gallery.open(path) as stored:
        return replace(_rank(opened, stored, query, k, rule, report), device=encoder.choice)


def image_encoder(bundle: Bundle, device: str, precision: str = "fp32") -> LazyImageEncoder:
    """The image encoder of a bundle, for `encode_stream`, which encodes several batches at once.

    On the CPU each batch gets its share of the cores and is cut into runs whose activations stay in the cache.
    """
    threads = max(1, (os.cpu_count() or 1) // num_encoders())

    def make() -> ImageEncoder:
        encoder = ImageEncoder(bundle, device, precision, threads=threads)
        if ENGINES[encoder.choice.device].on_cpu:
            encoder.batch_size = CPU_RUN
        return encoder

    return LazyImageEncoder(make)


def _open(bundle: Bundle | Path | str | None, gallery_path: Path) -> Bundle:
    return bundle if isinstance(bundle, Bundle) else open_bundle(choose_bundle_path(bundle, gallery_path))


def _rank(
    bundle: Bundle, gallery: Gallery, query: Query, k: int, rule: Rule, report: UpdateReport | None
) -> SearchResult:
    gallery.check_bundle(bundle)
    ids, embeddings = gallery.vectors()
    if len(ids) == 0:
        raise InputError(f"gallery {gallery.path}: is empty; add images with `sal gallery add {gallery.path} FOLDER`")
    scores = score_query(bundle, AttributeEncoder(bundle), query, embeddings, rule)
    _, rows = best(scores.ranking[None], np.arange(len(ids))[None], k)
    texts = [term.text for term in query.terms]
    hits = tuple(
        Hit(
            rank=rank,
            uri=item.uri,
            path=gallery.image_path(item),
            score=float(scores.cosine[row]),
            likelihood=None if scores.likelihood is None else float(scores.likelihood[row]),
            evidence=dict(zip(texts, map(float, scores.evidence[row]), strict=True)),
        )
        for rank, (row, item) in enumerate(zip(rows[0], gallery.items(ids[rows[0]]), strict=True), start=1)
    )
    return SearchResult(
        query=query.text,
        terms=tuple(_asked_term(term, bundle.schema) for term in query.terms),
        hits=hits,
        num_items=len(ids),
        num_encoded=0 if report is None else report.added + report.changed,
        failed=() if report is None else report.failed,
        gallery=gallery.path,
        bundle_name=bundle.name,
        bundle_fingerprint=bundle.fingerprint,
    )


def _asked_term(term: Term, schema: AttributeSchema) -> AskedTerm:
    alternatives = []
    for group_number, states in term.allowed:
        group = schema.groups[group_number]
        words = " or ".join(group.states[state].name for state in sorted(states))
        alternatives.append(words if group.kind == "binary" else f"{group.name} {words}")
    sensitive = any(schema.groups[group].sensitive for group, _ in term.allowed)
    return AskedTerm(term.text, ("not " if term.negated else "") + " or ".join(alternatives), sensitive)
