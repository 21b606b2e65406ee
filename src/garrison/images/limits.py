"""How much of an image is believed: each limit ends a scan, or a file, that goes beyond it.

An image is made by strangers. Limits are far above what real images reach and low enough that
nothing here runs out of memory or of time.
"""

from __future__ import annotations

MAX_MANIFEST = 4 << 20
"""Bytes of a manifest or index; registries themselves take no larger ones."""

MAX_CONFIG = 16 << 20
"""Bytes of an image's config: history and labels."""

MAX_LAYERS = 1024
"""Layers of one image; engines stop at 127."""

MAX_INDEX_DEPTH = 3
"""Indexes inside indexes."""

MAX_ENTRIES = 4_000_000
"""Entries of one layer's tar."""

MAX_HEADER = 1 << 20
"""Bytes of one extended header: a GNU long name or a PAX record set."""

MAX_PATH = 4096
"""Bytes of a path, as PATH_MAX."""

MAX_KEPT_FILE = 64 << 20
"""Bytes of a file that is read. The dpkg status of a large image has 10 MB."""

MAX_KEPT_BYTES = 2 << 30
"""Bytes of all files of one layer that are read; readers keep a small part of them."""

MAX_KEPT_FILES = 500_000
"""Files of one layer that are read."""

MAX_LINKS = 1_000_000
"""Symbolic and hard links of one layer that are remembered."""

MAX_LAYER_BYTES = 256 << 30
"""Bytes of one layer, decompressed."""

MAX_RATIO = 250
"""Decompressed bytes for each compressed one, once RATIO_AFTER bytes came out."""

RATIO_AFTER = 4 << 30
"""Layers of zeros are legal: below this size no ratio is suspicious."""

MAX_ZSTD_WINDOW = 128 << 20
"""Bytes of memory a zstd frame may ask for: what `zstd --ultra` makes at most."""

MAX_SECONDS = 3600.0
"""Seconds that reading an image may take."""

MAX_LINK_HOPS = 40
"""Symbolic links followed in one path, as Linux does."""
