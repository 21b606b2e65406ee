"""Readers of package databases: bytes in, facts out.

`PackageFiles` is the `images.Wanted` of a scan: which files are read, and which reader reads
each. `assemble` turns the facts of an image's final view into packages with their layers.
"""

from garrison.packages.readers.assemble import Assembled, assemble
from garrison.packages.readers.files import READERS_VERSION, PackageFiles
from garrison.packages.releases import distro

__all__ = ["READERS_VERSION", "Assembled", "PackageFiles", "assemble", "distro"]
