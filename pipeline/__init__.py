"""Prospectra: prospective mineral zones from earth observation."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.study import open_region

__all__ = ["open_region"]
__version__ = version("prospectra")


def __getattr__(name: str) -> Any:
    """Import what the package offers when it is asked for, so that the command starts quickly."""
    if name == "open_region":
        from pipeline.study import open_region

        return open_region
    raise AttributeError(f"module 'pipeline' has no attribute '{name}'")
