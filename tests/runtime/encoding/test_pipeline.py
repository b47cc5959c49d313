"""Bulk encoding: order, failures beside the results, bounds, and what happens when it is stopped."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sal_runtime.encoding.encoders import MAX_ENCODERS, num_encoders
from sal_runtime.encoding.pipeline import QUEUED_BATCHES, encode_stream
from sal_runtime.errors import InputError

REPOSITORY = Path(__file__).parents[3]


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

    batches = list(encode_stream(range(count), load_number, encode_number, batch_size=batch_size, threads=threads))

    assert [record for batch in batches for record in batch.records] == expected_records
    assert [row[0] for batch in batches for row in batch.embeddings] == expected_numbers
    assert [failure for batch in batches for failure in batch.failed] == expected_failures
    assert all(len(batch.records) + len(batch.failed) <= batch_size for batch in batches)


def test_the_encoder_is_not_called_without_an_image() -> None:
    (batch,) = encode_stream([5, 10], load_number, _refuse)
    assert batch.records == ()
    assert [source for source, _ in batch.failed] == [5, 10]


def test_a_slow_caller_holds_reading_and_decoding_back() -> None:
    read: list[int] = []
    decoded: list[int] = []

    def sources() -> Iterator[int]:
        for number in range(1, 10_000):
            read.append(number)
            yield number

    def load(number: int) -> tuple[int, NDArray[np.uint8]]:
        decoded.append(number)
        return number, np.zeros((2, 3, 3), dtype=np.uint8)

    stream = encode_stream(sources(), load, encode_number, batch_size=4, threads=2)
    assert read == []  # nothing happens before the first batch is asked for
    for taken, batch in enumerate(islice(stream, 20), start=1):
        assert len(batch.records) == 4
        time.sleep(0.002)  # the workers could run far ahead meanwhile
        assert len(decoded) <= len(read) <= (taken + 2 + QUEUED_BATCHES) * 4
    stream.close()


@pytest.mark.parametrize("encoders", [None, 1])
def test_few_batches_are_encoded_at_a_time(encoders: int | None) -> None:
    """Every batch in the encoder holds its activations."""
    inside, most = 0, 0
    lock = threading.Lock()

    def encode(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.002)
        with lock:
            inside -= 1
        return encode_number(images)

    threads = 3 * num_encoders()
    for _ in encode_stream(range(1, 400, 2), load_number, encode, batch_size=4, threads=threads, encoders=encoders):
        pass
    assert 1 <= most <= (encoders or num_encoders())


def test_as_many_batches_are_encoded_at_a_time_as_the_caller_wants() -> None:
    """More than by default: each waits until all of them are in the encoder."""
    count = MAX_ENCODERS + 1
    together = threading.Barrier(count, timeout=30)

    def encode(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        together.wait()
        return encode_number(images)

    sources = [1 + 10 * number for number in range(2 * count)]
    loaded = {number: load_number(1) for number in sources}
    batches = encode_stream(sources, loaded.__getitem__, encode, batch_size=1, threads=count, encoders=count)
    assert sum(len(batch.records) for batch in batches) == 2 * count


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


INTERRUPTED = """
import itertools, signal, threading, time
import numpy as np
from sal_runtime.encoding.pipeline import encode_stream

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored

def encode(images):
    time.sleep(0.05)
    return np.zeros((len(images), 4), np.float32)

load = lambda number: (number, np.zeros((2, 3, 3), np.uint8))
try:
    for batch in encode_stream(itertools.count(), load, encode, batch_size=8):
        print("batch", flush=True)
except KeyboardInterrupt:
    print("interrupted with", threading.active_count(), "thread")
"""


def test_ctrl_c_stops_an_endless_run() -> None:
    command = [sys.executable, "-c", INTERRUPTED]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "batch\n"
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output.endswith("interrupted with 1 thread\n")


def test_cancelled_by_another_thread_it_ends_without_an_error() -> None:
    cancel = threading.Event()
    before = threading.active_count()
    encoded: list[int] = []

    def endless() -> Iterator[int]:
        yield from itertools.count(1, 2)

    def encode(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        encoded.append(len(images))
        return encode_number(images)

    timer = threading.Timer(0.05, cancel.set)
    timer.start()
    batches = list(encode_stream(endless(), load_number, encode, batch_size=8, cancel=cancel))
    timer.join()
    assert threading.active_count() == before
    numbers = [int(batch.records[0].split()[1]) for batch in batches]
    assert numbers == sorted(numbers)
    assert len(batches) <= len(encoded)


def test_cancelled_before_it_begins_nothing_is_encoded() -> None:
    cancel = threading.Event()
    cancel.set()
    assert list(encode_stream([1, 2], load_number, _refuse, cancel=cancel)) == []


def test_cancelled_while_an_image_is_read_the_rest_of_the_batch_is_not() -> None:
    cancel = threading.Event()
    loaded: list[int] = []

    def load(number: int) -> tuple[str, NDArray[np.uint8]]:
        loaded.append(number)
        cancel.set()
        return load_number(number)

    assert list(encode_stream([1, 2, 3, 4], load, _refuse, threads=1, cancel=cancel)) == []
    assert loaded == [1]


def _refuse(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    raise AssertionError("nothing was to be encoded")


@pytest.mark.parametrize("broken", ["sources", "load", "encode"])
def test_an_error_of_the_caller_is_raised_once_and_leaves_no_thread(broken: str) -> None:
    before = threading.active_count()

    def sources() -> Iterator[int]:
        for number in range(1, 1000, 2):
            if broken == "sources" and number > 100:
                raise ZeroDivisionError(broken)
            yield number

    def load(number: int) -> tuple[str, NDArray[np.uint8]]:
        if broken == "load" and number > 100:
            raise ZeroDivisionError(broken)
        return load_number(number)

    def encode(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if broken == "encode" and images.max() > 100:
            raise ZeroDivisionError(broken)
        return encode_number(images)

    stream = encode_stream(sources(), load, encode, batch_size=8)
    with pytest.raises(ZeroDivisionError, match=broken):
        list(stream)
    assert threading.active_count() == before
    assert list(stream) == []


@pytest.mark.parametrize("wrong", ["batch_size", "threads", "encoders"])
def test_sizes_are_checked_before_the_first_batch(wrong: str) -> None:
    with pytest.raises(InputError, match=f"{wrong} 0.*at least 1"):
        encode_stream([1], load_number, encode_number, **{wrong: 0})  # type: ignore[arg-type]
