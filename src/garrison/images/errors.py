"""What goes wrong between a reference and the contents of an image."""

from __future__ import annotations

from garrison.errors import GarrisonError, InvalidSettingError


class ImageError(GarrisonError):
    """An image could not be read."""

    code = "images.failed"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self._hint = hint

    @property
    def hint(self) -> str:
        return self._hint


class BadReferenceError(ImageError, InvalidSettingError):
    """Text that names no image; a wrong argument, so exit 2 on the command line."""

    code = "images.bad_reference"

    def __init__(self, message: str, hint: str = "") -> None:
        InvalidSettingError.__init__(self, "reference", message, hint)


class NotFoundError(ImageError):
    """The registry, folder or engine has no such image, manifest or blob."""

    code = "images.not_found"


class UnauthorizedError(ImageError):
    """The registry wants credentials, or other ones."""

    code = "images.unauthorized"


class ForbiddenError(ImageError):
    """The registry knows who asks and says no."""

    code = "images.forbidden"


class RateLimitedError(ImageError):
    """The registry answered 429."""

    code = "images.rate_limited"


class RegistryError(ImageError):
    """The registry answered something that its protocol does not provide for."""

    code = "images.registry_failed"


class DigestMismatchError(ImageError):
    """Content is not what its digest says."""

    code = "images.digest_mismatch"


class BadManifestError(ImageError):
    """A manifest, index or config that cannot be understood."""

    code = "images.bad_manifest"


class UnsupportedManifestError(ImageError):
    """A manifest of a kind that is not read: schema 1, or not a container image."""

    code = "images.unsupported_manifest"


class PlatformMissingError(ImageError):
    """The image exists, but not for the platform asked for."""

    code = "images.platform_missing"


class BadLayerError(ImageError):
    """A layer that is no tar, or is broken inside."""

    code = "images.bad_layer"


class TooLargeError(ImageError):
    """One of the limits in `limits.py` was reached."""

    code = "images.too_large"


class ScanTimeoutError(ImageError):
    """Reading took longer than allowed."""

    code = "images.timeout"


class InsecureError(ImageError):
    """Going on would send content or credentials in the clear."""

    code = "images.insecure"


class CredentialsError(ImageError):
    """Credentials of `docker login` could not be read."""

    code = "images.credentials"


class EngineError(ImageError):
    """The local container engine did not answer as it should."""

    code = "images.engine"
