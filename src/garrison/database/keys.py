"""Credentials in the database are sealed with a key that is not in it: the file DATA/key."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from garrison.database.errors import KeyFileError, KeyMismatchError, SealBrokenError
from garrison.secret import Secret

# What a value is sealed for. A value opens under its own purpose only, so that a row copied to
# another place in the database is useless there.
SEAL_PROXY = "proxy.password"
SEAL_REGISTRY = "registry.password"
SEAL_WEBHOOK = "alert.webhook"
SEAL_AUTHORITY = "authority.key"

_HEADER = "garrison-key-1:"
_MAX_FILE = 256
_FORMAT = b"\x01"
_ID, _NONCE, _TAG = 8, 12, 16


def token_hash(token: str) -> bytes:
    """SHA-256 of a session, API, join or set-up token: what the database keeps of it."""
    return hashlib.sha256(token.encode()).digest()


@dataclass(frozen=True, slots=True)
class Key:
    """256 bits for AES-256-GCM. created: whether `load_or_create` has just made the file."""

    value: bytes = field(repr=False)
    created: bool = False

    def __post_init__(self) -> None:
        if len(self.value) != 32:
            raise ValueError("a key has 32 bytes")

    @classmethod
    def generate(cls) -> Key:
        """A new key that is in no file."""
        return cls(secrets.token_bytes(32))

    @classmethod
    def load_or_create(cls, path: Path) -> Key:
        """The key in `path`; the first caller makes it, also when several start at once.

        Raises:
            KeyFileError: the file is readable by others, belongs to somebody else, or holds no
                key.
        """
        try:
            return cls._load(path)
        except FileNotFoundError:
            made = cls._create(path)
        try:
            return cls(cls._load(path).value, created=made)
        except FileNotFoundError:
            raise KeyFileError(f"{path} is a link to nothing", _RESTORE) from None

    @classmethod
    def _load(cls, path: Path) -> Key:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise KeyFileError(f"{path} cannot be read: {error.strerror}", _RESTORE) from None
        try:
            _check_owner(path, os.fstat(descriptor))
            text = os.read(descriptor, _MAX_FILE + 1).decode("ascii", "replace").strip()
        finally:
            os.close(descriptor)
        if not text.startswith(_HEADER):
            raise _no_key(path)
        try:
            return cls(base64.b64decode(text.removeprefix(_HEADER), validate=True))
        except (binascii.Error, ValueError):
            raise _no_key(path) from None

    @classmethod
    def _create(cls, path: Path) -> bool:
        """Write a new key beside `path` and link it there; False when another was first."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb") as file:
                encoded = base64.b64encode(secrets.token_bytes(32)).decode()
                file.write(f"{_HEADER}{encoded}\n".encode())
                file.flush()
                os.fsync(descriptor)
            # link() fails where rename() would replace the key of another process.
            os.link(draft, path)
        except FileExistsError:
            return False
        finally:
            draft.unlink()
        _sync_directory(path.parent)
        return True

    def seal(self, purpose: str, secret: Secret) -> bytes:
        """`secret` encrypted for `purpose`; the result is different each time."""
        nonce = secrets.token_bytes(_NONCE)
        sealed = AESGCM(self.value).encrypt(nonce, secret.reveal().encode(), purpose.encode())
        return _FORMAT + self._id() + nonce + sealed

    def open(self, purpose: str, sealed: bytes) -> Secret:
        """What `seal` was given.

        Raises:
            KeyMismatchError: another key sealed it.
            SealBrokenError: it was changed, or sealed for another purpose.
        """
        if len(sealed) < 1 + _ID + _NONCE + _TAG or sealed[:1] != _FORMAT:
            raise SealBrokenError(f"the sealed value for {purpose} is damaged", _RESTORE)
        if sealed[1 : 1 + _ID] != self._id():
            raise KeyMismatchError(
                "the key file is not the one that this database was written with", _RESTORE
            )
        start = 1 + _ID
        nonce, data = sealed[start : start + _NONCE], sealed[start + _NONCE :]
        try:
            plain = AESGCM(self.value).decrypt(nonce, data, purpose.encode())
        except InvalidTag:
            raise SealBrokenError(
                f"the sealed value for {purpose} was changed or moved", _RESTORE
            ) from None
        return Secret(plain.decode())

    def _id(self) -> bytes:
        # Tells a wrong key from a damaged value; eight bytes of a hash give nothing away.
        return hashlib.sha256(b"garrison key id\0" + self.value).digest()[:_ID]


_RESTORE = "Put back the file `key` that belongs to this database, from the same backup."


def _no_key(path: Path) -> KeyFileError:
    return KeyFileError(f"{path} does not hold a key", _RESTORE)


def _check_owner(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileError(f"{path} is not a regular file", _RESTORE)
    if status.st_mode & 0o077:
        raise KeyFileError(
            f"{path} can be read by others (mode {status.st_mode & 0o777:04o})",
            f"Run `chmod 600 {path}`. If others had access, change the credentials it protects.",
        )
    if status.st_uid not in (os.geteuid(), 0):
        raise KeyFileError(
            f"{path} belongs to another user", f"Run `chown` on {path}, or start as its owner."
        )


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
