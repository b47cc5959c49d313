"""A detached signature of a bundle, in the format of OpenSSF Model Signing (github.com/ossf/model-signing-spec).

The bundle holds it as `model.sig`; it covers every other file of the bundle. Writing the bundle anew replaces the whole
directory, and with it removes the signature.
"""

from __future__ import annotations

import base64
import contextlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from sal_runtime.bundle.bundle import MANIFEST, open_bundle
from sal_runtime.errors import BackendError, BundleError, InputError, SalError, install
from sal_runtime.files import whole_file

SIGNATURE = "model.sig"


def sign_bundle(path: Path, private_key: Path) -> Path:
    """Sign a bundle with an elliptic-curve key; a previous signature is replaced.

    Args:
        path: the bundle, a directory.
        private_key: PEM file, not encrypted; curve P-256, P-384 or P-521.

    Returns:
        The file of the signature.

    Raises:
        BundleError: the bundle is missing, incomplete, or a .zip.
        InputError: the key cannot be used.
        BackendError: model-signing is not installed.
        SalError: the signature cannot be made or written.
    """
    library = _load_library()
    _check_directory(path)
    open_bundle(path)
    try:
        config = library.signing.Config().use_elliptic_key_signer(private_key=private_key)
    except Exception as error:  # from several libraries that share no base class but Exception
        raise InputError(_key_problem("private", private_key, error)) from error
    try:
        with whole_file(path / SIGNATURE) as temporary:
            config.set_hashing_config(_everything_but_the_signature(library)).sign(path, temporary)
    except (OSError, ValueError) as error:
        raise SalError(f"bundle {path}: cannot be signed ({error})") from error
    return path / SIGNATURE


def verify_bundle(path: Path, public_key: Path) -> list[str]:
    """Compare a bundle with its signature.

    Args:
        path: the bundle, a directory.
        public_key: PEM file of the key that signed it.

    Returns:
        Differences, one line each; empty if the bundle is exactly as signed with that key.

    Raises:
        BundleError: the bundle is missing, or a .zip.
        InputError: the key cannot be used.
        BackendError: model-signing is not installed.
    """
    library = _load_library()
    _check_directory(path)
    try:
        config = library.verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except Exception as error:  # as above
        raise InputError(_key_problem("public", public_key, error)) from error
    if not (path / SIGNATURE).is_file():
        return [f"{path} is not signed: no {SIGNATURE} in it (exporting or attaching metrics anew removes it)"]
    hashing = _everything_but_the_signature(library)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # the library prints warnings about older signatures
            config.set_hashing_config(hashing).verify(path, path / SIGNATURE)
    except Exception as error:  # as above
        if str(error).startswith("Signature mismatch"):
            return _differences(path, hashing)
        # InvalidSignature has no text
        return [" ".join(str(error).split()) or f"{SIGNATURE} has been altered: it is not what this key signed"]
    return []


def _differences(path: Path, hashing: Any) -> list[str]:
    """The files that differ from a valid signature; the library's own message shows digests as raw bytes."""
    envelope = json.loads((path / SIGNATURE).read_text(encoding="utf-8"))["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    signed = {entry["name"]: entry["digest"] for entry in statement["predicate"]["resources"]}
    present = {entry.identifier: entry.digest.digest_hex for entry in hashing.hash(path).resource_descriptors()}
    return [
        *(
            f"{name} has changed since it was signed"
            for name in sorted(signed.keys() & present)
            if signed[name] != present[name]
        ),
        *(f"{name} was signed and is missing" for name in sorted(signed.keys() - present)),
        *(f"{name} was not there when it was signed" for name in sorted(present.keys() - signed)),
    ]


def _load_library() -> ModuleType:
    try:
        import model_signing
    except ImportError as error:
        raise BackendError(f"model-signing cannot be imported ({error}); {install('sign')}") from error
    module: ModuleType = model_signing
    return module


def _everything_but_the_signature(library: ModuleType) -> Any:
    return library.hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)


def _check_directory(path: Path) -> None:
    if not (path / MANIFEST).is_file():
        raise BundleError(
            f"bundle {path}: not a bundle's directory; only directories can be signed, unpack a .zip first"
        )


def _key_problem(kind: str, path: Path, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else str(error) or type(error).__name__
    return (
        f"{path}: not a usable {kind} elliptic-curve key in PEM ({reason}); "
        "docs/interop.md shows how to make one with openssl"
    )
