"""The command line: arguments, progress, exit statuses; everything else is the public API."""

from thalweg.cli.app import main

__all__ = ["main"]
