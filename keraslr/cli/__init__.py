"""The command line: `python -m keraslr`, or `keraslr`."""

from keraslr.cli._main import main

__all__ = ["main"]
