"""Items and a grid -> Reflectance: scale, offset, mask and composite, one block at a time."""

from pipeline.cube.composite import read_reflectance
from pipeline.cube.join import join, join_sensors
from pipeline.cube.scenes import Imagery, Made, Scene, make_scenes, native_grid
from pipeline.cube.source import Source

__all__ = [
    "Imagery",
    "Made",
    "Scene",
    "Source",
    "join",
    "join_sensors",
    "make_scenes",
    "native_grid",
    "read_reflectance",
]
