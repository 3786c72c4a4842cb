"""Errors a user can cause while planning, writing or reading a feature store."""


class StoreError(Exception):
    """Base of every store error; the command line prints it in one line and exits with 2."""

    # KeyError, which two subclasses also are, would print its message in quotes.
    __str__ = BaseException.__str__


class MissingStoreError(StoreError, FileNotFoundError):
    """There is no feature store at that path."""


class UnknownCodecError(StoreError, ValueError):
    """No codec of that name."""


class CodecError(StoreError, ValueError):
    """Features cannot be encoded: not finite, or out of the codec's range."""


class PlanError(StoreError, ValueError):
    """A plan cannot be made, does not fit the disk, or is not the plan of this store."""


class NothingToAppendError(StoreError, ValueError):
    """The store has all of these images already."""


class FingerprintError(StoreError, ValueError):
    """The store was made by another teacher, preprocessing, codec or grid."""


class FormatVersionError(StoreError, ValueError):
    """The store was written by a newer version of this package."""


class LockedStoreError(StoreError, BlockingIOError):
    """Another process is building this store, or has taken over from this one."""


class ReadOnlyStoreError(StoreError, PermissionError):
    """The store has to be written, and cannot be."""


class DiskFullError(StoreError):
    """The disk filled up during a write; nothing half-written is left behind."""


class IncompleteStoreError(StoreError, ValueError):
    """The store has not been finished; `viral cache build` resumes it."""


class DamagedStoreError(StoreError, ValueError):
    """Bytes on disk are not the bytes that were written."""


class RemoteStoreError(StoreError, OSError):
    """The URL of a store cannot be read: no answer, no permission, or a package is missing."""


class RejectedImageError(StoreError, KeyError):
    """The image is known but could not be decoded when the store was built."""


class UnknownKeyError(StoreError, KeyError):
    """The store holds no record of that image."""
