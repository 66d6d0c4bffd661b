"""Keeps named worker processes under control from the command line, without a daemon of its own."""

from __future__ import annotations

__version__ = "0.1.0"
