"""Networks, proxies and servers for the integration tests and for `make demo`.

Nothing here is part of the product. A `lab.scene.Scene` is a whole company network on one
machine: four network namespaces that only Squid joins, a registry, an advisory feed and a
stand-in for Slack. Every part also stands alone, as a context manager in a module of its own,
and removes everything it made, also after an exception.

Needs Linux and root: namespaces and overlay mounts cannot be made without.
"""
