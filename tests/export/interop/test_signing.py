"""Signatures of bundles, with OpenSSF model-signing itself as the second opinion."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sal_export.interop.signing import SIGNATURE, sign_bundle, verify_bundle
from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.errors import BundleError, InputError
from tests.runtime.tiny_bundle import make_tiny_bundle

if importlib.util.find_spec("model_signing") is None:  # importorskip would skip a broken installation too
    pytest.skip("the extra `sign` (model-signing) is not installed", allow_module_level=True)

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of key pairs: ours, another's, and such as cannot be used."""
    folder = tmp_path_factory.mktemp("keys")
    pairs = {
        "ours": ec.generate_private_key(ec.SECP256R1()),
        "other": ec.generate_private_key(ec.SECP256R1()),
        "p521": ec.generate_private_key(ec.SECP521R1()),
        "rsa": rsa.generate_private_key(65537, 2048),
        "koblitz": ec.generate_private_key(ec.SECP256K1()),
    }
    for name, key in pairs.items():
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{name}.pem").write_bytes(private)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / f"{name}.pub").write_bytes(public)
    locked = pairs["ours"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (folder / "locked.pem").write_bytes(locked)
    (folder / "nonsense.pem").write_text("no key")
    return folder


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return make_tiny_bundle(tmp_path / "tiny")


@pytest.mark.parametrize("name", ["ours", "p521"])
def test_a_signed_bundle_verifies_and_still_opens(tiny: Path, keys: Path, name: str) -> None:
    assert sign_bundle(tiny, keys / f"{name}.pem") == tiny / SIGNATURE
    assert verify_bundle(tiny, keys / f"{name}.pub") == []
    assert open_bundle(tiny).name == "tiny"
    assert [path.name for path in tiny.parent.iterdir()] == ["tiny"]


def test_it_verifies_wherever_it_is_moved(tiny: Path, keys: Path, tmp_path: Path) -> None:
    sign_bundle(tiny, keys / "ours.pem")
    moved = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(tiny, moved)
    assert verify_bundle(moved, keys / "ours.pub") == []


@pytest.mark.parametrize("file", ["image_encoder.onnx", "manifest.json", "MODEL_CARD.md"])
def test_one_flipped_bit_is_noticed_and_the_file_named(tiny: Path, keys: Path, file: str) -> None:
    sign_bundle(tiny, keys / "ours.pem")
    content = bytearray((tiny / file).read_bytes())
    content[len(content) // 2] ^= 1
    (tiny / file).write_bytes(bytes(content))
    (problem,) = verify_bundle(tiny, keys / "ours.pub")
    assert problem == f"{file} has changed since it was signed"


def test_missing_and_additional_files_are_noticed(tiny: Path, keys: Path) -> None:
    sign_bundle(tiny, keys / "ours.pem")
    (tiny / ".gitignore").write_text("*")
    (problem,) = verify_bundle(tiny, keys / "ours.pub")
    assert problem == ".gitignore was not there when it was signed"
    (tiny / ".gitignore").unlink()
    (tiny / "golden.npz").unlink()
    (problem,) = verify_bundle(tiny, keys / "ours.pub")
    assert problem == "golden.npz was signed and is missing"


def test_another_key_does_not_verify(tiny: Path, keys: Path) -> None:
    sign_bundle(tiny, keys / "ours.pem")
    (problem,) = verify_bundle(tiny, keys / "other.pub")
    assert "Key mismatch" in problem
    sign_bundle(tiny, keys / "other.pem")
    assert verify_bundle(tiny, keys / "other.pub") == []
    assert len(verify_bundle(tiny, keys / "ours.pub")) == 1


def test_a_signature_that_was_tampered_with_does_not_verify(tiny: Path, keys: Path) -> None:
    """The signed statement is changed to fit a changed file; only the key holder could sign it anew."""
    sign_bundle(tiny, keys / "ours.pem")
    before = hashlib.sha256((tiny / "MODEL_CARD.md").read_bytes()).hexdigest()
    (tiny / "MODEL_CARD.md").write_text("# another\n")
    after = hashlib.sha256((tiny / "MODEL_CARD.md").read_bytes()).hexdigest()
    signature = json.loads((tiny / SIGNATURE).read_text())
    statement = json.loads(base64.b64decode(signature["dsseEnvelope"]["payload"]))
    assert before in json.dumps(statement)
    altered = json.dumps(statement).replace(before, after).encode()
    signature["dsseEnvelope"]["payload"] = base64.b64encode(altered).decode()
    (tiny / SIGNATURE).write_text(json.dumps(signature))
    (problem,) = verify_bundle(tiny, keys / "ours.pub")
    assert problem == "model.sig has been altered: it is not what this key signed"
    (tiny / SIGNATURE).write_text("{}")
    assert len(verify_bundle(tiny, keys / "ours.pub")) == 1


def test_writing_a_bundle_anew_removes_its_signature(tiny: Path, keys: Path) -> None:
    sign_bundle(tiny, keys / "ours.pem")
    make_tiny_bundle(tiny)
    assert not (tiny / SIGNATURE).exists()
    (problem,) = verify_bundle(tiny, keys / "ours.pub")
    assert "is not signed: no model.sig" in problem


def test_a_signature_of_an_older_export_does_not_fit(tiny: Path, keys: Path) -> None:
    old = sign_bundle(tiny, keys / "ours.pem").read_bytes()
    make_tiny_bundle(tiny, seed=1)
    (tiny / SIGNATURE).write_bytes(old)
    changed = ("image_encoder.onnx", "manifest.json", "manifest.json.sha256")
    assert verify_bundle(tiny, keys / "ours.pub") == [f"{name} has changed since it was signed" for name in changed]


def test_signing_refuses_what_is_no_whole_bundle(tiny: Path, keys: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not a bundle's directory"):
        sign_bundle(tmp_path, keys / "ours.pem")
    with pytest.raises(BundleError, match=r"unpack a \.zip first"):
        verify_bundle(tmp_path / "bundle.zip", keys / "ours.pub")
    (tiny / "heads.npz").write_bytes(b"")
    with pytest.raises(BundleError, match=r"heads\.npz has sha256"):
        sign_bundle(tiny, keys / "ours.pem")
    assert not (tiny / SIGNATURE).exists()


@pytest.mark.parametrize("name", ["rsa", "koblitz", "nonsense", "locked", "nothing"])
def test_keys_that_cannot_be_used(tiny: Path, keys: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"{name}\.pem: not a usable private elliptic-curve key"):
        sign_bundle(tiny, keys / f"{name}.pem")
    with pytest.raises(InputError, match=rf"{name}\.pem: not a usable public elliptic-curve key"):
        verify_bundle(tiny, keys / f"{name}.pem")
    assert not (tiny / SIGNATURE).exists()


def test_a_symbolic_link_does_not_verify(tiny: Path, keys: Path, tmp_path: Path) -> None:
    sign_bundle(tiny, keys / "ours.pem")
    (tmp_path / "card.md").write_bytes((tiny / "MODEL_CARD.md").read_bytes())
    (tiny / "MODEL_CARD.md").unlink()
    (tiny / "MODEL_CARD.md").symlink_to(tmp_path / "card.md")
    assert len(verify_bundle(tiny, keys / "ours.pub")) == 1


def model_signing(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "model_signing", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_library_s_own_command_agrees(tiny: Path, keys: Path) -> None:
    signature = tiny / SIGNATURE
    sign_bundle(tiny, keys / "ours.pem")
    checked = model_signing("verify", "key", tiny, "--signature", signature, "--public_key", keys / "ours.pub")
    assert checked.returncode == 0, checked.stderr
    signature.unlink()
    signed = model_signing("sign", "key", tiny, "--signature", signature, "--private_key", keys / "ours.pem")
    assert signed.returncode == 0, signed.stderr
    assert verify_bundle(tiny, keys / "ours.pub") == []
    (tiny / "heads.npz").write_bytes(b"")
    assert verify_bundle(tiny, keys / "ours.pub") == ["heads.npz has changed since it was signed"]
