"""Prospectra: prospective mineral zones from earth observation."""

from importlib.metadata import version

__version__ = version("prospectra")
