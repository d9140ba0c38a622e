"""Items and a grid -> Reflectance: scale, offset, mask and composite, one block at a time."""

from pipeline.cube.composite import read_reflectance
from pipeline.cube.scenes import Scene, native_grid, scenes
from pipeline.cube.source import Source

__all__ = ["Scene", "Source", "native_grid", "read_reflectance", "scenes"]
