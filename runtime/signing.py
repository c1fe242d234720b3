"""ed25519 signatures over a bundle's SHA256SUMS. Needs the package cryptography only when a key is used."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from jetspect.errors import BundleError, MissingDependencyError, SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE_BYTES = 64


def check_signature(message: bytes, signature: bytes, public_key: Path, *, what: str) -> None:
    """Raise SignatureError unless ``signature`` over ``message`` was made with the key's private half."""
    key = _load_public(public_key)
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, message)
    except InvalidSignature as error:
        raise SignatureError(
            f"{what}: the signature does not fit {public_key}; the bundle changed or another key signed it"
        ) from error


def sign_bundle(bundle: Path, private_key: Path) -> Path:
    """Sign a bundle folder and return the signature's path. The bundle is verified first; an old signature is replaced.

    Raises
    ------
    BundleError
        The bundle is a .zip or does not verify.
    SignatureError
        The key is not an ed25519 private key.
    """
    from jetspect.runtime.bundle import SIGNATURE, SUMS, Bundle

    if not bundle.is_dir():
        raise BundleError(f"{bundle} is not a folder; unpack the bundle, sign the folder and zip it again")
    verified = Bundle.open(bundle)
    signature = _load_private(private_key).sign(verified.file(SUMS))
    target = bundle / SIGNATURE
    # Beside the bundle, not in it: a kill must not leave an extra file there.
    draft = bundle.parent / f".{bundle.name}.{SIGNATURE}.tmp"
    try:
        draft.write_bytes(signature)
        draft.replace(target)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise SignatureError(f"{target} cannot be written: {error.strerror or error}") from error
    return target


def make_keys(folder: Path, name: str = "jetspect") -> tuple[Path, Path]:
    """Write a new key pair ``NAME.key`` (mode 0600) and ``NAME.pub`` and return both paths.

    Raises
    ------
    SignatureError
        One of the files exists; keys are never overwritten.
    """
    _need_cryptography()
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    for path in (private, public):
        if path.exists():
            raise SignatureError(f"{path} exists and keys are not overwritten; choose another --name or folder")
    pem = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(pem)
        public.write_bytes(key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo))
    except OSError as error:
        raise SignatureError(f"{folder} cannot take the keys: {error.strerror or error}") from error
    return private, public


def _need_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("cryptography", "signatures", "pip install 'jetspect[sign]'") from error


def _load_public(path: Path) -> Ed25519PublicKey:
    _need_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise SignatureError(f"public key {path} cannot be read: {error.strerror or error}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignatureError(
            f"{path} is not a public key in PEM; use the .pub file that bundle keygen wrote"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise SignatureError(f"{path} is not an ed25519 key; make one with: jetspect bundle keygen")
    return key


def _load_private(path: Path) -> Ed25519PrivateKey:
    _need_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise SignatureError(f"private key {path} cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SignatureError(f"{path} is not an unencrypted private key in PEM: use the .key file of keygen") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SignatureError(f"{path} is not an ed25519 key; make one with: jetspect bundle keygen")
    return key
