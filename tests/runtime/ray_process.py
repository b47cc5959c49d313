"""Ray in a process of its own: on a busy machine it may end the process that it was too slow to start in."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.connection import Connection
from typing import Any

from sal_runtime.archive.ray import ArchiveReport, encode_archive
from sal_runtime.errors import SalError

PART_IMAGES = 10
ATTEMPTS = 3


class RayProcess:
    """Runs `encode_archive`, with `PART_IMAGES` images to a part, on a Ray of two cores or without one.

    Attributes:
        progress: arguments of each call of `progress` during the last call.
        ray_is_left: whether a Ray was running after the last call.
    """

    def __init__(self, with_ray: bool) -> None:
        self.progress: list[tuple[int, int]] = []
        self.ray_is_left = False
        self._with_ray = with_ray
        self._start()

    def encode(self, *arguments: Any, **settings: Any) -> ArchiveReport:
        """What `encode_archive` returns or raises; called again if the process died."""
        for _ in range(ATTEMPTS):
            try:
                self._pipe.send((arguments, {"part_images": PART_IMAGES} | settings))
                result, self.progress, self.ray_is_left = self._pipe.recv()
            except (EOFError, OSError):
                self._start()
                continue
            if isinstance(result, SalError):
                raise result
            assert isinstance(result, ArchiveReport)
            return result
        raise AssertionError(f"the process died {ATTEMPTS} times")

    def close(self) -> None:
        """End Ray and the process."""
        self._pipe.send(None)
        self._process.join()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        for _ in range(ATTEMPTS):
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs, self._with_ray))
            self._process.start()
            theirs.close()
            try:
                assert self._pipe.recv() == "ready"
            except EOFError:
                self._process.join()
            else:
                return
        raise AssertionError(f"Ray did not start {ATTEMPTS} times")


def _serve(pipe: Connection, with_ray: bool) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    if with_ray:
        ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
    pipe.send("ready")
    while (task := pipe.recv()) is not None:
        arguments, settings = task
        progress: list[tuple[int, int]] = []
        result: ArchiveReport | SalError
        settings["progress"] = lambda done, total, into=progress: into.append((done, total))
        try:
            result = encode_archive(*arguments, **settings)
        except SalError as error:
            result = error
        pipe.send((result, progress, ray.is_initialized()))
    ray.shutdown()
