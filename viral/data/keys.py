"""What a cache record is filed under: the content of an image file or, on request, its name and size.

- `sha256`: of the bytes. A changed image is another image; two files with the same bytes share one record.
- `path+size`: SHA-256 of the name below the image root and the number of bytes, so that planning need not read the
  files. They stay apart even if they are equal, and a change that keeps the size goes unnoticed.

A store says which one in its fingerprint, as `keys`; without that field it is `sha256`.
"""

import hashlib
import posixpath
from collections.abc import Callable, Mapping
from typing import Any

from viral.data.images import image_key
from viral.errors import UnknownNameError

CONTENT, PATH_AND_SIZE = "sha256", "path+size"

KeyOf = Callable[[str, bytes], str]
"""(name below the image root, bytes of the file) -> 64 hex digits."""


def content_key(name: str, data: bytes) -> str:
    """Key of an image by its content, whatever its name."""
    return image_key(data)


def path_and_size_key(name: str, data: bytes) -> str:
    """Key of an image by its name and size."""
    return path_key(name, len(data))


def path_key(name: str, size: int) -> str:
    """Key of an image of `size` bytes that has not been read."""
    normal = posixpath.normpath(name).encode("utf-8", "surrogateescape")
    return hashlib.sha256(b"path+size\0%d\0%b" % (size, normal)).hexdigest()


KEY_SCHEMES: Mapping[str, KeyOf] = {CONTENT: content_key, PATH_AND_SIZE: path_and_size_key}


def key_function(fingerprint: Mapping[str, Any]) -> KeyOf:
    """How the store with this fingerprint files its images.

    Raises:
        UnknownNameError: in a way that a newer version has invented.
    """
    scheme = fingerprint.get("keys", CONTENT)
    if scheme not in KEY_SCHEMES:
        raise UnknownNameError("kind of image keys", str(scheme), list(KEY_SCHEMES))
    return KEY_SCHEMES[scheme]
