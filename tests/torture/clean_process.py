"""Processes that begin without the threads of the tests that ran before.

A child that is forked from a process with threads can wait for ever for a lock that one of them held. A fork server has
no threads, and has imported what the children need.
"""

from __future__ import annotations

import multiprocessing

CLEAN = multiprocessing.get_context("forkserver")
CLEAN.set_forkserver_preload(["sal_runtime.gallery.gallery", "sal_service.video.ingest", "sal_service.watches.board"])
