"""The golden check on encoders that are wrong by a known amount."""

from __future__ import annotations

import numpy as np
import pytest

from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.bundle.golden import check_golden
from sal_runtime.errors import ParityError
from tests.runtime.tiny_bundle import embed_attributes, embed_image, make_tiny_bundle

Array = np.ndarray


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(make_tiny_bundle(tmp_path_factory.mktemp("golden") / "tiny"))


def turned(unit: Array, cosine: float) -> Array:
    """Unit vectors whose cosine to the given ones is `cosine`."""
    other = np.roll(unit, 1, axis=1)
    other = other - (other * unit).sum(axis=1, keepdims=True) * unit
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return np.asarray(cosine * unit + np.sqrt(1 - cosine**2) * other, dtype=np.float32)


def test_what_is_right_passes_and_is_measured(bundle: Bundle) -> None:
    for role, embed in (("image_encoder", embed_image), ("attribute_encoder", embed_attributes)):
        difference = check_golden(bundle, role, "fp32", embed, "encoder")
        assert difference.max_abs < 1e-6
        assert difference.min_cosine == pytest.approx(1, abs=1e-6)


def test_the_inputs_are_those_of_the_graphs(bundle: Bundle) -> None:
    seen = {}

    def encode(role: str, batch: Array) -> Array:
        seen[role] = (batch.dtype, batch.shape)
        return bundle.golden["image_embeddings" if role == "image_encoder" else "attribute_embeddings"]

    for role in ("image_encoder", "attribute_encoder"):
        check_golden(bundle, role, "fp32", lambda batch, role=role: encode(role, batch), "encoder")  # type: ignore[misc]
    assert seen == {
        "image_encoder": (np.dtype(np.uint8), (4, 16, 8, 3)),
        "attribute_encoder": (np.dtype(np.float32), (4, 8)),
    }


@pytest.mark.parametrize(
    ("precision", "cosine", "passes"),
    [("fp16", 0.9992, True), ("fp16", 0.9985, False), ("int8", 0.96, True), ("int8", 0.94, False)],
)
def test_low_precision_may_turn_embeddings_a_little(
    bundle: Bundle, precision: str, cosine: float, passes: bool
) -> None:
    def encode(images: Array) -> Array:
        return turned(embed_image(images), cosine)

    if passes:
        difference = check_golden(bundle, "image_encoder", precision, encode, "encoder")
        assert difference.min_cosine == pytest.approx(cosine, abs=1e-5)
    else:
        with pytest.raises(ParityError, match=f"encoder does not reproduce the golden .* for {precision}"):
            check_golden(bundle, "image_encoder", precision, encode, "encoder")


@pytest.mark.parametrize(("error", "passes"), [(0.9e-4, True), (1.2e-4, False)])
def test_fp32_may_differ_in_the_fourth_digit(bundle: Bundle, error: float, passes: bool) -> None:
    def encode(images: Array) -> Array:
        embeddings = embed_image(images)
        embeddings[2, 3] += error
        return embeddings

    if passes:
        assert check_golden(bundle, "image_encoder", "fp32", encode, "e").max_abs == pytest.approx(error, rel=1e-2)
    else:
        with pytest.raises(ParityError, match=r"at most 0\.0001 for fp32"):
            check_golden(bundle, "image_encoder", "fp32", encode, "e")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_nonsense_never_passes(bundle: Bundle, precision: str, value: float) -> None:
    with pytest.raises(ParityError):
        check_golden(bundle, "image_encoder", precision, lambda images: np.full((4, 8), value, np.float32), "e")


def test_another_shape_is_an_error(bundle: Bundle) -> None:
    with pytest.raises(ParityError, match=r"returns \(4, 7\), the golden embeddings are \(4, 8\)"):
        check_golden(bundle, "image_encoder", "fp32", lambda images: embed_image(images)[:, :7], "e")
