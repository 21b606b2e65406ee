"""Readers of package databases: bytes in, facts out.

`PackageFiles` is the `images.Wanted` of a scan: which files are read, and which reader reads
each. `assemble` turns the facts of an image's final view into packages with their layers.
"""

from garrison.packages.readers.assemble import Assembled, assemble
from garrison.packages.readers.files import PackageFiles
from garrison.packages.readers.version import readers_version
from garrison.packages.releases import distro

__all__ = ["Assembled", "PackageFiles", "assemble", "distro", "readers_version"]
