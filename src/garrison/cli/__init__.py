"""The command line: one module per command, errors turned into exit codes here alone.

Modules import what they need inside their functions, so that `garrison scan` starts without the
web, the database and the charts.
"""

from garrison.cli.main import main

__all__ = ["main"]
