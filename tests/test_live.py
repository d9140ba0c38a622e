"""Real catalogs, asked for real: off by default, `make test-live` turns it on.

What is asserted is what would change a map: that items are found, that every asset a sensor needs
is there by a name it knows, and that the reflectance is plausible.
"""

import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from pipeline import catalog, cube
from pipeline.plan import Configs, Search

pytestmark = pytest.mark.live

GOLDFIELD = box(-117.22, 37.70, -117.20, 37.72)
GRID = GeoBox.from_bbox((481000, 4173000, 483000, 4175000), "EPSG:32611", resolution=20)
ASKED = [
    ("earth-search", "sentinel2-l2a", "sentinel-2-c1-l2a"),
    ("earth-search", "sentinel2-l2a", "sentinel-2-l2a"),
    ("planetary-computer", "sentinel2-l2a", "sentinel-2-l2a"),
    ("planetary-computer", "landsat-oli-c2-l2", "landsat-c2-l2"),
]


@pytest.mark.parametrize(("name", "sensor_name", "collection"), ASKED)
def test_a_real_catalog_gives_plausible_reflectance(name, sensor_name, collection):
    configs = Configs.at()
    sensor = configs.sensor(sensor_name)
    wanted = Search(
        collections=(collection,), datetime="2024-06-01/2024-07-15", max_cloud=10.0, per_cell=2
    )
    place = catalog.locate(name, wanted, configs)
    items = catalog.search(place, wanted, sensor, GOLDFIELD, "goldfield")
    made = cube.make_scenes(items.items, sensor, place.access, catalog=name)
    data = cube.read_reflectance(cube.Imagery(sensor_name, sensor, made.scenes), GRID)
    values = data["reflectance"].values
    assert np.isfinite(values).mean() > 0.9
    assert 0.05 < np.nanmedian(values) < 0.6


def test_the_two_collections_of_one_catalog_agree_on_the_same_scene():
    """The offset is decided apart for each: the same ground must come out the same."""
    configs = Configs.at()
    sensor = configs.sensor("sentinel2-l2a")
    found = []
    for collection in ("sentinel-2-c1-l2a", "sentinel-2-l2a"):
        wanted = Search(collections=(collection,), datetime="2024-06-01/2024-06-30", max_cloud=5.0)
        place = catalog.locate("earth-search", wanted, configs)
        items = catalog.search(place, wanted, sensor, GOLDFIELD, "goldfield")
        made = cube.make_scenes(items.items[:1], sensor, place.access, catalog="earth-search")
        imagery = cube.Imagery("sentinel2-l2a", sensor, made.scenes)
        found.append(cube.read_reflectance(imagery, GRID)["reflectance"].values)
    assert np.nanmedian(np.abs(found[0] - found[1])) < 0.02
