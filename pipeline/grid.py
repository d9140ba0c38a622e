"""Where pixels are: the grid of a region, and the blocks the engine cuts it into.

Grids are `odc.geo` GeoBoxes: north-up, y before x, in a projected CRS whose unit is the metre.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from odc.geo.types import wh_
from rasterio.windows import Window
from shapely import contains_xy
from shapely.geometry.base import BaseGeometry

BLOCK = 512  # pixels on a side: the block size of most COGs, and small enough for the cache

_LARGE_BLOCK = 1024
_TO_SHARE_OUT = 16  # blocks, so that a handful of workers end at about the same time


@dataclass(frozen=True, order=True)
class Block:
    """One block of a region's grid: rows `y0:y1` and columns `x0:x1`, in pixels."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """The block as an index into a (y, x) array of the whole region."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def window(self) -> Window:
        """The block as a rasterio window on a raster of the whole region."""
        return Window(self.x0, self.y0, self.x1 - self.x0, self.y1 - self.y0)

    @property
    def name(self) -> str:
        """A name that is the same in every run, for files and tasks."""
        return f"y{self.y0:06d}-x{self.x0:06d}"

    def padded(self, halo: int) -> "Block":
        """Return the block grown by `halo` pixels on every side (past the region's edge too).

        >>> Block(0, 4, 0, 4).padded(2)
        Block(y0=-2, y1=6, x0=-2, x1=6)
        """
        return Block(self.y0 - halo, self.y1 + halo, self.x0 - halo, self.x1 + halo)


def block_side(shape: tuple[int, int]) -> int:
    """Return the side of a region's blocks, pixels.

    Larger blocks read the same pixels with fewer calls; smaller ones share out a small region.

    >>> block_side((5490, 5490)), block_side((600, 600))
    (1024, 512)
    """
    rows, columns = shape
    enough = rows * columns >= _TO_SHARE_OUT * _LARGE_BLOCK**2
    return _LARGE_BLOCK if enough else BLOCK


def blocks(shape: tuple[int, int], size: int = BLOCK) -> Iterator[Block]:
    """Yield the blocks that cover a grid of `shape` (rows, columns), row by row.

    >>> [b.shape for b in blocks((5, 3), size=4)]
    [(4, 3), (1, 3)]
    """
    rows, columns = shape
    for y in range(0, rows, size):
        for x in range(0, columns, size):
            yield Block(y, min(y + size, rows), x, min(x + size, columns))


def region_grid(
    outline: Geometry, resolution: float, anchor: tuple[float, float] = (0.0, 0.0)
) -> GeoBox:
    """Return the smallest grid that covers an outline and keeps in step with the imagery.

    Parameters
    ----------
    outline : in the projected CRS of the grid (metres).
    resolution : pixel size, metres.
    anchor : x and y of any pixel corner of the imagery, metres; pixel edges fall in step with it.
    """
    box = outline.boundingbox
    # A millionth of a pixel, so that an outline drawn on pixel edges does not gain a row.
    slack = 1e-6
    left = np.floor((box.left - anchor[0]) / resolution + slack) * resolution + anchor[0]
    top = np.ceil((box.top - anchor[1]) / resolution - slack) * resolution + anchor[1]
    width = ceil((box.right - left) / resolution - slack)
    height = ceil((top - box.bottom) / resolution - slack)
    return GeoBox.from_bbox(
        (left, top - height * resolution, left + width * resolution, top),
        crs=outline.crs,
        shape=wh_(max(width, 1), max(height, 1)),
        tight=True,
    )


def crop(grid: GeoBox, block: Block) -> GeoBox:
    """Return the grid of one block; the block may reach past the grid's edge (a halo)."""
    moved = grid.translate_pix(block.x0, block.y0)
    return GeoBox((block.y1 - block.y0, block.x1 - block.x0), moved.affine, grid.crs)


def inside(grid: GeoBox, outline: BaseGeometry) -> NDArray[np.bool_]:
    """Return which pixels (y, x) of a grid have their centre inside an outline of the same CRS."""
    if outline.contains(grid.extent.geom):
        return np.ones(grid.shape, dtype=bool)
    x, y = grid.coordinates["x"].values, grid.coordinates["y"].values
    within: NDArray[np.bool_] = np.asarray(contains_xy(outline, *np.meshgrid(x, y)))
    return within


def halo_pixels(metres: float, resolution: float) -> int:
    """Return the whole pixels that cover a length, both in metres."""
    return ceil(metres / resolution - 1e-9)
