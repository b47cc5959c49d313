"""Recognition rates against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, recall_score

from sal_runtime.query.schema import AttributeSchema, binary
from sal_train.datasets.splits import Labels
from sal_train.evaluation.attribute_recognition import full_name, recognition_rates


def test_rates_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    labels = (rng.random((500, 6)) < (0.5, 0.1, 0.9, 0.3, 0.02, 0.6)).astype(np.uint8)
    logits = (rng.standard_normal((500, 6)) + labels).astype(np.float32)
    schema = AttributeSchema("six", tuple(binary(f"bit{bit}", bit) for bit in range(6)))
    report = recognition_rates(logits, Labels(labels), schema)
    balanced = [balanced_accuracy_score(labels[:, bit], logits[:, bit] > 0) for bit in range(6)]
    assert report["mA"] == pytest.approx(np.mean(balanced))
    for bit, name in enumerate(schema.bit_names):
        rates = report["by_attribute"][name]
        assert rates["positives"] == labels[:, bit].sum()
        assert rates["true_positive_rate"] == pytest.approx(recall_score(labels[:, bit], logits[:, bit] > 0))
        assert rates["true_negative_rate"] == pytest.approx(
            recall_score(labels[:, bit], logits[:, bit] > 0, pos_label=0)
        )


def test_what_never_occurs_has_no_rate_and_stays_out_of_the_mean() -> None:
    labels = np.array([[1, 0, 1], [1, 0, 0]], dtype=np.uint8)
    logits = np.array([[2.0, -1.0, 1.0], [-2.0, -1.0, 1.0]], dtype=np.float32)
    groups = (binary("always", 0), binary("never", 1), binary("pole", 2, absent="neither", present="both"))
    report = recognition_rates(logits, Labels(labels), AttributeSchema("three", groups))
    assert report["by_attribute"]["always"] == {
        "group": "always",
        "positives": 2,
        "people": 2,
        "people_without": 0,
        "share": 1.0,
        "true_positive_rate": 0.5,
        "true_negative_rate": None,
        "precision": 1.0,
        "negative_precision": 0.0,
        "precision_at_forty": 1.0,
        "balanced_accuracy": None,
        "standard_error": None,
    }
    assert report["by_attribute"]["never"]["true_positive_rate"] is None
    assert report["num_attributes"] == 1
    assert report["mA"] == pytest.approx(0.5)  # seen always: right where it is there, wrong where it is not


def test_words_that_do_not_name_their_group_get_it() -> None:
    names = [
        full_name(*names) for names in (("hat", "hat"), ("upper=red", "upper"), ("m", "sex"), ("long-hair", "hair"))
    ]
    assert names == ["hat", "upper=red", "sex=m", "long-hair"]


def test_a_word_is_measured_on_the_images_of_which_it_is_known() -> None:
    """Five people; of two the hat is unknown, and the head says yes to both."""
    labels = Labels(np.array([[1], [1], [0], [0], [0]], dtype=np.uint8), np.array([[1], [1], [1], [0], [0]]) == 1)
    logits = np.array([[1.0], [-1.0], [1.0], [1.0], [1.0]], dtype=np.float32)
    report = recognition_rates(logits, labels, AttributeSchema("one", (binary("hat", 0),)))
    rates = report["by_attribute"]["hat"]
    assert (rates["positives"], rates["people"], rates["people_without"]) == (2, 2, 1)
    assert rates["share"] == pytest.approx(2 / 3)
    assert (rates["true_positive_rate"], rates["true_negative_rate"]) == (0.5, 0.0)
    assert (rates["precision"], rates["negative_precision"]) == (0.5, 0.0)


def test_precision_where_forty_percent_are_found_is_that_of_the_best_threshold() -> None:
    rng = np.random.default_rng(4)
    is_true = rng.random(200) < 0.15
    logits = (rng.normal(size=200) + 1.2 * is_true).astype(np.float32).round(1)  # with ties
    labels = Labels(is_true[:, None].astype(np.uint8))
    rates = recognition_rates(logits[:, None], labels, AttributeSchema("one", (binary("hat", 0),)))
    precisions = []
    for threshold in logits:
        found = logits >= threshold
        if is_true[found].sum() >= 0.4 * is_true.sum():
            precisions.append(is_true[found].mean())
    assert rates["by_attribute"]["hat"]["precision_at_forty"] == pytest.approx(max(precisions))
    assert is_true.mean() < max(precisions) < 1.0
