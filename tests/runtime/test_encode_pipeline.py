"""Bulk encoding: order, failures beside the results, bounds, and what happens when it is stopped."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sal_runtime.encode_pipeline import BATCHES_AHEAD, encode_stream
from sal_runtime.errors import InputError


def load_number(number: int) -> tuple[str, NDArray[np.uint8]]:
    """An image that says its number; multiples of 5 are broken, multiples of 7 cannot be opened."""
    if number % 5 == 0:
        raise InputError(f"image {number} is broken")
    if number % 7 == 0:
        raise PermissionError(13, "Permission denied")
    return f"record {number}", np.full((2, 3, 3), number % 256, dtype=np.uint8)


def encode_number(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The number an image says, in each of 4 dimensions."""
    return images[:, 0, 0, :1].repeat(4, axis=1).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 150), batch_size=st.integers(1, 40), threads=st.integers(1, 4))
def test_results_and_failures_are_those_of_a_plain_loop(count: int, batch_size: int, threads: int) -> None:
    expected_records, expected_numbers, expected_failures = [], [], []
    for number in range(count):
        try:
            record, image = load_number(number)
        except InputError as error:
            expected_failures.append((number, str(error)))
        except OSError:
            expected_failures.append((number, "Permission denied"))
        else:
            expected_records.append(record)
            expected_numbers.append(float(image[0, 0, 0]))

    batches = list(encode_stream(range(count), load_number, encode_number, batch_size, threads))

    assert [record for batch in batches for record in batch.records] == expected_records
    assert [row[0] for batch in batches for row in batch.embeddings] == expected_numbers
    assert [failure for batch in batches for failure in batch.failed] == expected_failures
    assert all(len(batch.records) + len(batch.failed) <= batch_size for batch in batches)


def test_the_encoder_is_not_called_without_an_image() -> None:
    def encode(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise AssertionError("nothing to encode")

    (batch,) = encode_stream([5, 10], load_number, encode)
    assert batch.records == ()
    assert [source for source, _ in batch.failed] == [5, 10]


def test_a_caller_who_does_not_store_holds_reading_back() -> None:
    read = []

    def sources() -> Iterator[int]:
        for number in range(1, 10_000, 2):
            read.append(number)
            yield number

    stream = encode_stream(sources(), load_number, encode_number, batch_size=4)
    next(stream)
    assert len(read) <= (BATCHES_AHEAD + 1) * 4
    stream.close()


@pytest.mark.parametrize("stop", ["close", "interrupt"])
def test_stopping_leaves_no_thread_behind(stop: str) -> None:
    before = threading.active_count()
    stream = encode_stream(range(1, 1000, 2), load_number, encode_number, batch_size=8)
    next(stream)
    if stop == "close":
        stream.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            stream.throw(KeyboardInterrupt)
    assert threading.active_count() == before


def test_an_encoder_that_fails_ends_the_stream_with_its_error() -> None:
    def encode(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        list(encode_stream(range(100), load_number, encode))


def test_what_is_not_an_input_error_is_not_swallowed() -> None:
    def load(number: int) -> tuple[int, NDArray[np.uint8]]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(encode_stream(range(100), load, encode_number))


@pytest.mark.parametrize(("batch_size", "threads"), [(0, 1), (1, 0)])
def test_sizes_are_checked_before_the_first_batch(batch_size: int, threads: int) -> None:
    with pytest.raises(InputError, match="at least 1"):
        encode_stream([1], load_number, encode_number, batch_size, threads)
