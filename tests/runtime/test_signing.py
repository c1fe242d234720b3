"""A signature proves who made a bundle, and only that key's signature does."""

from __future__ import annotations

import shutil
import stat
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from jetspect.errors import BundleError, BundleIntegrityError, MissingDependencyError, SignatureError
from jetspect.runtime.bundle import SIGNATURE, SUMS, Bundle
from jetspect.runtime.signing import make_keys, sign_bundle


@pytest.fixture
def folder(metal_demo: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(metal_demo, tmp_path / "bundle"))


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return make_keys(tmp_path / "keys", "plant")


def test_a_signed_bundle_opens_with_its_key_as_folder_and_as_zip(folder: Path, keys: tuple[Path, Path]) -> None:
    private, public = keys
    assert sign_bundle(folder, private) == folder / SIGNATURE
    assert Bundle.open(folder, public_key=public).signature == f"signed, checked with {public}"
    zipped = Path(shutil.make_archive(str(folder), "zip", folder, base_dir="."))
    assert Bundle.open(zipped, public_key=public).manifest.name == Bundle.open(folder).manifest.name
    assert Bundle.open(folder).signature == "signed, not checked (no public key given)"


def test_signing_changes_nothing_but_the_signature(folder: Path, keys: tuple[Path, Path]) -> None:
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    sign_bundle(folder, keys[0])
    sign_bundle(folder, keys[0])
    after = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert len(after.pop(SIGNATURE)) == 64
    assert after == before
    assert sorted(p.name for p in folder.parent.iterdir()) == ["bundle", "keys"]


def test_a_key_refuses_a_bundle_that_is_not_signed(folder: Path, keys: tuple[Path, Path]) -> None:
    with pytest.raises(SignatureError, match="is not signed, but a public key was given"):
        Bundle.open(folder, public_key=keys[1])


def test_another_key_and_other_contents_do_not_fit(folder: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    sign_bundle(folder, keys[0])
    other = make_keys(tmp_path / "keys", "other")[1]
    with pytest.raises(SignatureError, match="the bundle changed or another key signed it"):
        Bundle.open(folder, public_key=other)
    # Sums that list the same files in another order are true, but not what was signed.
    lines = (folder / SUMS).read_text().splitlines(keepends=True)
    (folder / SUMS).write_text("".join(reversed(lines)))
    with pytest.raises(SignatureError, match="does not fit"):
        Bundle.open(folder, public_key=keys[1])


@pytest.mark.parametrize("signature", [b"", b"x" * 63, b"x" * 65])
def test_a_malformed_signature_is_refused_even_without_a_key(folder: Path, signature: bytes) -> None:
    (folder / SIGNATURE).write_bytes(signature)
    with pytest.raises(SignatureError, match=f"has {len(signature)} bytes, an ed25519 signature has 64"):
        Bundle.open(folder)


def test_a_bundle_that_does_not_verify_is_not_signed(folder: Path, keys: tuple[Path, Path]) -> None:
    (folder / "MODEL_CARD.md").write_text("changed")
    with pytest.raises(BundleIntegrityError, match=r"MODEL_CARD\.md changed"):
        sign_bundle(folder, keys[0])
    with pytest.raises(BundleError, match="is not a folder; unpack the bundle"):
        sign_bundle(folder / "MODEL_CARD.md", keys[0])


def test_the_private_key_is_for_its_owner_only_and_never_overwritten(keys: tuple[Path, Path]) -> None:
    private, _ = keys
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    with pytest.raises(SignatureError, match="keys are not overwritten"):
        make_keys(private.parent, "plant")


def test_a_file_that_is_no_such_key_is_named(folder: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    private, public = keys
    sign_bundle(folder, private)
    text = tmp_path / "text.pem"
    text.write_text("hello")
    for path, says in (
        (tmp_path / "gone.pub", r"gone\.pub cannot be read: No such file"),
        (text, r"text\.pem is not a public key in PEM"),
        (private, r"plant\.key is not a public key in PEM"),
    ):
        with pytest.raises(SignatureError, match=says):
            Bundle.open(folder, public_key=path)
    for path, says in ((public, "not an unencrypted private key"), (tmp_path, "cannot be read: Is a directory")):
        with pytest.raises(SignatureError, match=says):
            sign_bundle(folder, path)


def test_a_key_of_another_kind_is_refused(folder: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    sign_bundle(folder, keys[0])
    key = ec.generate_private_key(ec.SECP256R1())
    public, private = tmp_path / "ec.pub", tmp_path / "ec.key"
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    with pytest.raises(SignatureError, match=r"ec\.pub is not an ed25519 key"):
        Bundle.open(folder, public_key=public)
    with pytest.raises(SignatureError, match=r"ec\.key is not an ed25519 key"):
        sign_bundle(folder, private)


def test_without_cryptography_a_key_cannot_be_used_and_says_what_to_install(
    folder: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_bundle(folder, keys[0])
    monkeypatch.setitem(sys.modules, "cryptography", None)
    assert Bundle.open(folder).signature.startswith("signed, not checked")
    for use in (lambda: Bundle.open(folder, public_key=keys[1]), lambda: make_keys(folder.parent, "new")):
        with pytest.raises(MissingDependencyError, match=r"pip install 'jetspect\[sign\]'"):
            use()
