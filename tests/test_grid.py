"""Grids and blocks: every pixel once, in step with the imagery."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geom import box
from shapely.geometry import Polygon

from pipeline.grid import Block, blocks, crop, halo_pixels, inside, region_grid

UTM = "EPSG:32611"


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 15))
def test_blocks_cover_every_pixel_exactly_once(rows, columns, size):
    hits = np.zeros((rows, columns), int)
    found = list(blocks((rows, columns), size))
    for block in found:
        hits[block.slices] += 1
        assert max(block.shape) <= size
    assert (hits == 1).all()
    assert found == sorted(found)
    assert len({block.name for block in found}) == len(found)


def test_a_block_as_window_slices_and_halo():
    block = Block(4, 8, 10, 13)
    assert block.shape == (4, 3)
    window = block.window
    assert (window.row_off, window.col_off, window.height, window.width) == (4, 10, 4, 3)
    assert block.padded(2) == Block(2, 10, 8, 15)
    assert block.padded(0) == block


def test_a_grid_on_pixel_edges_gains_no_row():
    grid = region_grid(box(500000, 4000000, 500100, 4000060, UTM), 20.0)
    assert grid.shape == (3, 5)
    bounds = grid.extent.boundingbox
    assert (bounds.left, bounds.top) == (500000, 4000060)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(400000, 600000),
    st.floats(3900000, 4100000),
    st.floats(5, 5000),
    st.floats(5, 5000),
    st.sampled_from([10.0, 17.0, 20.0, 30.0]),
    st.floats(0, 40),
)
def test_a_grid_covers_its_outline_in_step_with_the_imagery(left, bottom, wide, high, res, anchor):
    grid = region_grid(box(left, bottom, left + wide, bottom + high, UTM), res, (anchor, anchor))
    bounds, slack = grid.extent.boundingbox, res * 1e-5
    assert bounds.left <= left + slack
    assert bounds.bottom <= bottom + slack
    assert bounds.right >= left + wide - slack
    assert bounds.top >= bottom + high - slack
    for edge in (bounds.left, bounds.top):
        steps = (edge - anchor) / res
        assert abs(steps - round(steps)) < 1e-6
    # No row or column more than is needed.
    assert bounds.right - (left + wide) < res * 1.001
    assert bottom - bounds.bottom < res * 1.001


def test_crop_keeps_every_pixel_where_it_was_even_past_the_edge():
    grid = region_grid(box(500000, 4000000, 500200, 4000200, UTM), 20.0)
    part = crop(grid, Block(2, 5, 3, 7))
    assert part.shape == (3, 4)
    assert part.affine * (0, 0) == grid.affine * (3, 2)
    wide = crop(grid, Block(0, 10, 0, 10).padded(2))
    assert wide.shape == (14, 14)
    assert wide.affine * (2, 2) == grid.affine * (0, 0)
    assert part.crs == grid.crs


def test_inside_is_decided_by_the_pixel_centre():
    grid = region_grid(box(0, 0, 40, 40, UTM), 10.0)
    assert inside(grid, Polygon([(0, 0), (40, 0), (40, 40), (0, 40)])).all()
    # 16 m from the left holds the centres at 5 and 15 m; 14 m only the first.
    sixteen = inside(grid, Polygon([(0, 0), (16, 0), (16, 40), (0, 40)]))
    assert sixteen.sum(axis=1).tolist() == [2, 2, 2, 2]
    fourteen = inside(grid, Polygon([(0, 0), (14, 0), (14, 40), (0, 40)]))
    assert fourteen.sum(axis=1).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("metres", "resolution", "pixels"), [(0, 20, 0), (60, 20, 3), (61, 20, 4), (51, 17, 3)]
)
def test_halo_pixels_cover_the_length(metres, resolution, pixels):
    assert halo_pixels(metres, resolution) == pixels
