"""A video service in small: people are added to a gallery as they are seen, while another thread searches it.

    python docs/examples/embed.py demo/gallery yard.sal

The pictures in demo/gallery stand for a camera with a detector and a tracker, whose boxes are in crops.csv.
"""

from __future__ import annotations

import csv
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import cv2

from sal_runtime import Crop, Gallery, GalleryItem, ImageEncoder, ItemFilter, LiveEncoder, PersonSearch, open_bundle


def detections(folder: Path) -> Iterator[tuple[Crop, GalleryItem]]:
    """Crops of frames, and what is known of each."""
    with (folder / "crops.csv").open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            frame = cv2.imread(str(folder / row["image"]))  # uint8 [height, width, 3] in BGR, as cameras give it
            if frame is None:
                continue
            item = GalleryItem(
                uri=row["image"],  # unique in the gallery; save the crop there if you want to see it later
                camera="north entrance",
                captured_at=time.time(),  # seconds since 1970, UTC
                track=row["track"],
                box=(int(row["x"]), int(row["y"]), int(row["width"]), int(row["height"])),
                metadata={"zone": "north"},
            )
            yield Crop(frame, (0, 0, frame.shape[1], frame.shape[0])), item


def watch(people: PersonSearch, ended: threading.Event) -> None:
    """Ask again and again; each answer knows all that was added before it."""
    where = ItemFilter(cameras=["north entrance"], metadata={"zone": ["north"]})
    while True:
        is_last = ended.wait(0.2)
        if len(people.gallery) == 0:  # asking an empty gallery is an error
            continue
        for hit in people.ask("woman in a red shirt", k=1, where=where):
            seen = datetime.fromtimestamp(hit.item.captured_at or 0)
            print(f"{len(people.gallery)} crops; best: {hit.uri}, {hit.item.camera}, track {hit.item.track}, {seen:%T}")
        if is_last:
            return


def main(folder: Path, path: Path) -> None:
    """Open or create the gallery, fill it, and search it meanwhile."""
    bundle = open_bundle()  # the one that comes with sal; or open_bundle("market.bundle")
    with (
        Gallery.open(path, "w") if path.exists() else Gallery.create(path, bundle) as gallery,
        LiveEncoder(ImageEncoder(bundle), gallery, colour="BGR") as live,
    ):
        ended = threading.Event()
        watcher = threading.Thread(target=watch, args=(PersonSearch(bundle, gallery), ended))
        watcher.start()
        answers = [(item, live.submit(crop, item)) for crop, item in detections(folder)]
        for item, answer in answers:
            if (error := answer.exception()) is not None:  # waits until it is in the gallery; result() is its embedding
                print(f"skipped {item.uri}: {error}", file=sys.stderr)
        ended.set()
        watcher.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
