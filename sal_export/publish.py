"""Writing a bundle with its model card, and adding test numbers to an existing one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sal_export.bundle_writing import write_bundle
from sal_export.model_card import model_card
from sal_runtime.bundle.bundle import MODEL_CARD, Bundle, open_bundle
from sal_runtime.query.schema import AttributeSchema


def publish(out: Path, manifest: Mapping[str, Any], files: Mapping[str, bytes], schema: AttributeSchema) -> Bundle:
    """Write a bundle, with a model card from its manifest.

    Raises:
        BundleError: it cannot be written; nothing has changed.
    """
    return write_bundle(out, manifest, {**files, MODEL_CARD: model_card(manifest, schema).encode()})


def attach_metrics(path: Path, metrics: Mapping[str, Any]) -> Bundle:
    """Write test numbers, a report of `sal eval`, into the manifest and the model card of a bundle.

    The encoders and the fingerprint do not change.

    Raises:
        BundleError: the bundle cannot be opened or written.
    """
    bundle = open_bundle(path)
    files = {file: bundle.read_bytes(file) for file in bundle.manifest["files"] if file != MODEL_CARD}
    manifest = {key: value for key, value in bundle.manifest.items() if key not in ("files", "fingerprint")}
    return publish(path, {**manifest, "metrics": dict(metrics)}, files, bundle.schema)
