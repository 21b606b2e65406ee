"""Container security for networks where nothing reaches the internet except through a proxy."""

__version__ = "0.1.0"
