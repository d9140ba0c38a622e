"""The COG writer: what is in the file, what it says of itself, and that it is all or nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import zarr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rio_cogeo import cog_validate

from pipeline.errors import OutputError
from pipeline.publish import raster
from pipeline.publish.raster import (
    CLASSES,
    EVIDENCE,
    NODATA,
    QUANTISED,
    Layer,
    dequantise,
    quantise,
    write_cog,
)

ROWS, COLUMNS = 700, 1100


def grid(rows: int = ROWS, columns: int = COLUMNS) -> GeoBox:
    box = (500_000, 4_000_000 - 20 * rows, 500_000 + 20 * columns, 4_000_000)
    return GeoBox.from_bbox(box, crs="EPSG:32611", shape=(rows, columns))


def scores() -> NDArray[np.float32]:
    y, x = np.mgrid[0:ROWS, 0:COLUMNS]
    values = (0.5 + 0.5 * np.sin(x / 90) * np.cos(y / 70)).astype(np.float32)
    values[:40, :60] = np.nan
    return values


def classes() -> NDArray[np.uint8]:
    return np.where(np.isnan(scores()), 0, 1 + np.nan_to_num(scores() * 4)).astype(np.uint8)


MAPS = {
    "score": (quantise(scores()), QUANTISED),
    "class": (classes(), CLASSES),
    "evidence": (scores() * 7 - 3, EVIDENCE),
}


@pytest.mark.parametrize("kind", MAPS)
def test_a_map_comes_back_as_it_went_in(tmp_path: Path, kind: str) -> None:
    values, layer = MAPS[kind]
    path = tmp_path / "map.tif"
    write_cog(path, values, grid(), layer)
    assert cog_validate(path) == (True, [], [])
    with rasterio.open(path) as found:
        np.testing.assert_array_equal(found.read(1), values)
        assert found.crs.to_epsg() == 32611
        assert found.transform == grid().affine
        assert found.block_shapes == [(512, 512)]
        assert found.compression.name == "deflate"
        np.testing.assert_equal(found.nodata, layer.nodata)
        assert (found.scales, found.offsets) == ((layer.scale,), (layer.offset,))
    assert [p.name for p in tmp_path.iterdir()] == ["map.tif"]


def test_the_file_says_what_it_holds(tmp_path: Path) -> None:
    layer = replace(
        CLASSES,
        description="Winning class",
        unit="1",
        colours={0: "#000000", 2: "#ff8800"},
        tags={"release": "operator", "plan": "abc"},
    )
    write_cog(tmp_path / "class.tif", classes(), grid(), layer)
    with rasterio.open(tmp_path / "class.tif") as found:
        assert found.descriptions == ("Winning class",)
        assert found.units == ("1",)
        assert found.colormap(1)[2] == (255, 136, 0, 255)
        assert found.tags().items() >= layer.tags.items()


def test_overviews_average_numbers_and_never_classes(tmp_path: Path) -> None:
    checkers = np.indices((ROWS, COLUMNS)).sum(axis=0) % 2
    write_cog(tmp_path / "score.tif", np.where(checkers, 10_000, 0).astype("u2"), grid(), QUANTISED)
    write_cog(tmp_path / "class.tif", np.where(checkers, 5, 1).astype("u1"), grid(), CLASSES)
    with rasterio.open(tmp_path / "score.tif", overview_level=0) as found:
        assert set(np.unique(found.read(1))) == {5_000}
    with rasterio.open(tmp_path / "class.tif", overview_level=0) as found:
        assert set(np.unique(found.read(1))) <= {1, 5}


def test_overviews_leave_missing_out_of_the_mean(tmp_path: Path) -> None:
    values = np.full((ROWS, COLUMNS), 2_000, np.uint16)
    values[::2] = NODATA
    write_cog(tmp_path / "score.tif", values, grid(), QUANTISED)
    with rasterio.open(tmp_path / "score.tif", overview_level=0) as found:
        assert set(np.unique(found.read(1))) == {2_000}


def test_equal_maps_are_equal_bytes_from_numpy_and_zarr_and_any_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, layer = MAPS["score"]
    stored = zarr.create_array(
        tmp_path / "store", shape=values.shape, chunks=(512, 512), dtype="u2", fill_value=NODATA
    )
    stored[:] = values
    first = write_cog(tmp_path / "a.tif", values, grid(), layer)
    monkeypatch.setattr(raster, "_WINDOW", 512)
    second = write_cog(tmp_path / "b.tif", stored, grid(), layer)
    assert first == second
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_only_windows_of_the_map_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values, layer = MAPS["score"]
    asked: list[tuple[int, int]] = []

    class Watched:
        shape = values.shape

        def __getitem__(self, key: tuple[slice, slice]) -> NDArray[np.uint16]:
            asked.append(values[key].shape)
            return values[key]

    monkeypatch.setattr(raster, "_WINDOW", 512)
    write_cog(tmp_path / "map.tif", Watched(), grid(), layer)
    assert max(rows * columns for rows, columns in asked) == 512 * 512


def test_a_file_that_reads_back_wrong_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, layer = MAPS["score"]
    path = tmp_path / "map.tif"
    before = write_cog(path, values, grid(), layer)
    whole = raster._copy_as_cog

    def damaging(plain: Path, part: Path, layer: Layer) -> None:
        with rasterio.open(plain, "r+", driver="GTiff") as out:
            out.write(np.uint16([[1]]), 1, window=((5, 6), (100, 101)))
        whole(plain, part, layer)

    monkeypatch.setattr(raster, "_copy_as_cog", damaging)
    with pytest.raises(OutputError, match="does not read back"):
        write_cog(path, values, grid(), layer)
    assert [p.name for p in tmp_path.iterdir()] == ["map.tif"]
    monkeypatch.undo()
    assert write_cog(tmp_path / "again.tif", values, grid(), layer) == before


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    values, layer = MAPS["score"]
    with pytest.raises(OutputError, match=r"map\.tif"):
        write_cog(tmp_path / "file" / "map.tif", values, grid(), layer)


def test_the_wrong_dtype_or_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="uint16 map"):
        write_cog(tmp_path / "map.tif", scores(), grid(), QUANTISED)
    with pytest.raises(TypeError, match=r"\(10, 10\)"):
        write_cog(tmp_path / "map.tif", MAPS["score"][0], grid(10, 10), QUANTISED)


def test_quantised_values_come_back_within_half_a_step() -> None:
    values = np.float32([[0, 1, 0.12345, np.nan, 0.5]])
    counts = quantise(values)
    assert counts.tolist() == [[0, 10_000, 1_234, NODATA, 5_000]] or counts[0, 2] == 1_235
    np.testing.assert_allclose(dequantise(counts), values, atol=0.500001e-4)
    assert quantise(np.empty((0, 3), np.float32)).shape == (0, 3)


@pytest.mark.parametrize("wrong", [-0.01, 1.01, np.inf])
def test_values_outside_the_scale_are_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        quantise(np.float32([0.5, wrong]))
