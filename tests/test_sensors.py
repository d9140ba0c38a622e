"""The sensors that come with the package: their numbers, their names, and the tables of them."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.cube.join import join_sensors
from pipeline.errors import FormulaError
from pipeline.evidence.indices import feasible, operand_bands
from pipeline.plan import Configs
from pipeline.plan.sensors import Spectrum
from pipeline.tables import NOT_RUN, sensor_tables

CONFIGS = Configs.at()
SENSORS = {name: CONFIGS.sensor(name) for name in CONFIGS.names("sensors")}
INDICES = {name: CONFIGS.index(name) for name in CONFIGS.names("indices")}
ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"


def test_every_sensor_of_the_tables_is_there():
    wanted = "sentinel2-l2a landsat-oli-c2-l2 landsat-tm-c2-l2 hls-s30 hls-l30 aster-l1t aster-07xt"
    wanted += " emit-l2a enmap-l2a copernicus-dem sentinel1-rtc"
    assert SENSORS.keys() >= set(wanted.split())


def test_the_tables_in_the_docs_are_current():
    """If this fails, run: prospectra sensors > docs/sensors.md."""
    assert (ROOT / "docs" / "sensors.md").read_text() == sensor_tables(CONFIGS)


def test_a_sensor_without_a_real_raster_says_so():
    tables = sensor_tables(CONFIGS)
    rows = {line.split("`")[1]: line for line in tables.splitlines() if "<br>" in line}
    assert NOT_RUN in rows["hls-s30"]
    assert NOT_RUN in rows["aster-l1t"]
    assert NOT_RUN not in rows["sentinel2-l2a"]
    assert NOT_RUN not in rows["landsat-oli-c2-l2"]


def test_the_tables_name_assets_numbers_masks_and_refusals():
    tables = sensor_tables(CONFIGS)
    for part in (
        "`blue` / `B02` / `B02_10m`",
        "2.75e-05, -0.2, 0",
        "planetary-computer: `sentinel-2-l2a` (offset baseline)",
        "`Fmask`: cloud, cloud_adjacent, cloud_shadow, snow, water",
        "both fall on the band 'swir22'",
        "an index is of surface reflectance, and this sensor gives radiance",
        "| `swir2205` | `SWIR`, band 3 | 2205 | 40 | 30 | before 2008-04-01 |",
    ):
        assert part in tables


@pytest.mark.parametrize("name", SENSORS)
def test_every_holding_is_in_a_known_catalog(name):
    assert SENSORS[name].holdings.keys() <= set(CONFIGS.names("catalogs"))


@pytest.mark.parametrize("name", SENSORS)
def test_every_index_is_fed_or_refused_with_a_reason(name):
    fed, refused = feasible(INDICES, SENSORS[name])
    assert fed.keys() | refused.keys() == INDICES.keys()
    assert not fed.keys() & refused.keys()
    assert all(refused.values())


def test_indices_go_where_they_can_be_told_apart():
    fed = {name: set(feasible(INDICES, sensor)[0]) for name, sensor in SENSORS.items()}
    assert "clay_hydroxyl" in fed["sentinel2-l2a"] & fed["landsat-oli-c2-l2"]
    assert fed["emit-l2a"] == fed["enmap-l2a"] == INDICES.keys()
    assert "kli" in fed["aster-07xt"]
    assert "kli" not in fed["sentinel2-l2a"] | fed["landsat-oli-c2-l2"] | fed["hls-s30"]
    assert fed["copernicus-dem"] == fed["sentinel1-rtc"] == fed["aster-l1t"] == set()


def test_an_index_of_radiance_is_refused_alone_and_beside_reflectance():
    aster, s2 = SENSORS["aster-l1t"], SENSORS["sentinel2-l2a"]
    with pytest.raises(FormulaError, match="this sensor gives radiance"):
        operand_bands(INDICES["kli"], aster)
    joined = join_sensors({"sentinel2-l2a": s2, "aster-l1t": aster})
    assert operand_bands(INDICES["ndvi"], joined) == operand_bands(INDICES["ndvi"], s2)
    with pytest.raises(FormulaError):
        operand_bands(INDICES["kli"], joined)
    turned = join_sensors({"aster-l1t": aster, "sentinel2-l2a": s2})
    assert set(operand_bands(INDICES["ndvi"], turned).values()) == {
        "sentinel2_l2a_red",
        "sentinel2_l2a_nir08",
    }


def test_aster_normal_gain_is_the_greatest_radiance_over_its_counts():
    """Abrams et al. 2002: 8 bits less two reserved ones; the widest radiance of each band."""
    greatest = [427, 358, 218, 55.0, 17.6, 15.8, 15.1, 10.55, 8.04]
    bands = list(SENSORS["aster-l1t"].bands.values())
    for band, most in zip(bands, greatest, strict=False):
        assert band.gains["normal"] == pytest.approx(most / 253, rel=2e-3)
    assert [band.number for band in bands] == [1, 2, 3, *range(1, 7), *range(1, 6)]


def test_the_short_waves_of_aster_end_in_april_2008():
    for name in ("aster-l1t", "aster-07xt"):
        until = {key: band.until for key, band in SENSORS[name].bands.items()}
        assert {key for key, day in until.items() if day == "2008-04-01"} == {
            "swir16",
            *(f"swir{nm}" for nm in (2165, 2205, 2260, 2339, 2395)),
        }


def test_a_spectrometer_leaves_out_spans_and_numbers():
    spectrum = Spectrum(
        assets=("cube",),
        wavelengths=(400, 500, 505, 1400, 2200),
        fwhms=(10, 10, 10, 10, 10),
        skip=((1320, 1500),),
        leave=(3,),
    )
    assert list(spectrum.bands()) == ["b001", "b002", "b005"]
    assert spectrum.bands()["b005"].light == (2200, 10)


def test_the_spectrometers_have_no_water_vapour_and_no_detector_twice():
    for name, count in (("emit-l2a", 227), ("enmap-l2a", 198)):
        centres = np.array([band.light[0] for band in SENSORS[name].bands.values()])
        assert len(centres) == count
        assert (np.diff(centres) > 4).all()
        for low, high in ((1320, 1500), (1770, 1970)):
            assert not ((centres >= low) & (centres <= high)).any()


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")
def test_centres_are_those_that_were_published():
    emit = SENSORS["emit-l2a"].bands
    header = (DATA / "emit_crop" / "emit20250324t221005_jpl_unmix_ex.hdr").read_text()
    for key, column in (("wavelength", 0), ("fwhm", 1)):
        listed = header.split(f"\n{key} = {{")[1].split("}")[0].split(",")
        ours = {band.number: band.light[column] for band in emit.values()}
        assert all(abs(float(listed[n - 1]) - value) <= 0.0501 for n, value in ours.items())
    table = (DATA / "spectral_response" / "enmap.csv").read_text().split()[1:]
    published = {n: float(line.split(",")[0]) for n, line in enumerate(table, start=1)}
    for band in SENSORS["enmap-l2a"].bands.values():
        assert abs(published[band.number] - band.light[0]) <= 0.0501
