"""Items and a grid -> Reflectance: scale, offset, mask and composite, one block at a time."""

from pipeline.cube.composite import check_composite, read_reflectance
from pipeline.cube.grids import native_grid
from pipeline.cube.illumination import fit_relief
from pipeline.cube.join import flag_shares, join, join_sensors, share_name
from pipeline.cube.relief import Relief
from pipeline.cube.scenes import Imagery, Made, Scene, make_scenes
from pipeline.cube.source import Source

__all__ = [
    "Imagery",
    "Made",
    "Relief",
    "Scene",
    "Source",
    "check_composite",
    "fit_relief",
    "flag_shares",
    "join",
    "join_sensors",
    "make_scenes",
    "native_grid",
    "read_reflectance",
    "share_name",
]
