"""Which asset is meant, where keys are paths of files, and whether a file is the one declared."""

import hashlib
from pathlib import Path

import pytest
from conftest import stac_item, write_catalog
from items import levels, make_item, raster
from shapely.geometry import box

from pipeline.catalog import locate, search
from pipeline.cube import make_scenes
from pipeline.cube.assets import find
from pipeline.errors import CatalogError, ReadError
from pipeline.plan import Band, Configs, Search, Sensor

SENSOR = Sensor(
    title="Two bands",
    bands={
        "red": Band(assets=("red",), wavelength=665, fwhm=38),
        "swir16": Band(assets=("swir16", "*_B11.tif"), wavelength=1610, fwhm=143),
    },
    resolution=20,
    scale=1e-4,
    source="made up",
)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """A red and a short-wave band."""
    names = ("red", "swir16")
    return {n: raster(tmp_path / f"{n}.tif", levels((64, 64), 2000, 3000)) for n in names}


def is_read(item) -> bool:
    return [scene.item for scene in make_scenes([item], SENSOR).scenes] == [item.id]


def granule(kinds: dict[str, str], folder: str = "001/EMIT_L2A_RFL_001_x_2334011_006"):
    """An item with the keys that CMR-STAC makes of addresses, by the key's last part."""
    base = "https://data.lpdaac.earthdatacloud.nasa.gov/lp-prod-protected/EMITL2ARFL."
    return make_item({f"{folder}/{key}": f"{base}{folder}/{file}" for key, file in kinds.items()})


@pytest.mark.parametrize("ending", ["", ".nc"])
def test_emit_is_found_among_its_like_by_the_end_of_a_key(ending):
    emit = Configs.at().sensor("emit-l2a")
    names = [f"EMIT_L2A_{kind}_001_x_2334011_006" for kind in ("MASK", "RFLUNCERT", "RFL")]
    item = granule({name + ending: f"{name}.nc" for name in names})
    folder = "001/EMIT_L2A_RFL_001_x_2334011_006/"
    assert find(item, emit.bands["b010"].assets) == folder + names[2] + ending
    assert find(item, emit.masks[0].assets) == folder + names[0] + ending
    del item.assets[folder + names[2] + ending]
    assert find(item, emit.bands["b010"].assets) is None


def test_of_several_files_of_one_name_that_of_the_wanted_kind_is_taken():
    name, names = "EMIT_L2A_RFL_001_x", Configs.at().sensor("emit-l2a").bands["b010"].assets
    picture = {"EMIT_L2A_RFL_001_x": f"{name}.png"}
    assert find(granule(picture), names) is None
    both = granule({**picture, "EMIT_L2A_RFL_001_x.nc": f"{name}.nc?sig=a.b"})
    assert find(both, names) == "001/EMIT_L2A_RFL_001_x_2334011_006/EMIT_L2A_RFL_001_x.nc"
    named = granule({"EMIT_L2A_RFL_001_x.nc": "data", "EMIT_L2A_RFL_001_y": f"{name}.nc"})
    assert find(named, names) == "001/EMIT_L2A_RFL_001_x_2334011_006/EMIT_L2A_RFL_001_y"


def test_several_files_of_the_wanted_kind_are_named_and_not_chosen_from(files):
    twice = {"a/x_B11": files["swir16"], "b/y_B11.tif": files["swir16"]}
    item = make_item({"red": files["red"], **twice})
    told = r"item one: several of its assets go by the name \*_B11.tif \(a/x_B11, b/y_B11.tif\)"
    with pytest.raises(CatalogError, match=told):
        make_scenes([item], SENSOR)
    good = make_item(files, "good")
    made = make_scenes([item, good], SENSOR, tolerant=True)
    assert [scene.item for scene in made.scenes] == ["good"]
    assert "a/x_B11, b/y_B11.tif" in made.unreadable["one"]


def test_every_band_of_aster_is_found_by_the_end_of_a_key():
    stem = "AST_07XT_00408012005182047_20240101000000"
    numbers = {
        "green": "VNIR_B01",
        "nir": "VNIR_B03N",
        "swir16": "SWIR_B04",
        "swir2395": "SWIR_B09",
    }
    kinds = {f"{stem}_SRF_{n}": f"{stem}_SRF_{n}.tif" for n in numbers.values()}
    item = granule({**kinds, f"{stem}_SRF_VNIR_B01_QA": f"{stem}_SRF_VNIR_B01_QA.tif"}, "004/x")
    bands = Configs.at().sensor("aster-07xt").bands
    for name, number in numbers.items():
        assert find(item, bands[name].assets) == f"004/x/{stem}_SRF_{number}"


def test_a_lock_keeps_the_assets_that_are_found_by_the_end_of_a_key(tmp_path):
    name, folder = "EMIT_L2A_RFL_001_x", "001/EMIT_L2A_RFL_001_x/"
    kinds = {name: f"./{name}.nc", "EMIT_L2A_RFLUNCERT_001_x": "./u.nc", "browse": "./b.png"}
    kinds["EMIT_L2A_MASK_001_x"] = "./m.nc"
    assets = {folder + key: {"href": href} for key, href in kinds.items()}
    emit = Configs.at().sensor("emit-l2a").model_copy(update={"platforms": ()})
    path = write_catalog(tmp_path, [stac_item("x", assets=assets)])
    asked = Search(collections=("things",))
    place = locate(str(path), asked, Configs.at())
    found = search(place, asked, emit, box(-118, 37, -117, 38), "here")
    (entry,) = found.lock["items"]
    assert entry["kept"]
    assert entry["item"]["assets"].keys() == {folder + name, f"{folder}EMIT_L2A_MASK_001_x"}


# Whether a file is the one that was meant


def checksums(path: str) -> dict[str, str]:
    content = Path(path).read_bytes()
    return {
        "sha1": "1114" + hashlib.sha1(content, usedforsecurity=False).hexdigest(),
        "sha256": "1220" + hashlib.sha256(content).hexdigest(),
        "sha512": "1340" + hashlib.sha512(content).hexdigest(),
    }


@pytest.mark.parametrize("kind", ["sha1", "sha256", "sha512"])
def test_a_file_of_another_checksum_than_its_item_declares_is_refused(files, kind):
    right = checksums(files["red"])[kind]
    for said in (right, right.upper()):
        assert is_read(make_item(files, fields={"red": {"file:checksum": said}}))
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
    item = make_item(files, fields={"red": {"file:checksum": wrong}})
    with pytest.raises(ReadError, match=rf"not the file its item declares: its {kind} is"):
        make_scenes([item], SENSOR)


@pytest.mark.parametrize("said", ["d50110" + "0" * 32, "90e4021234", "", "none", None])
def test_a_checksum_of_an_unknown_kind_says_nothing(files, said):
    assert is_read(make_item(files, fields={"red": {"file:checksum": said}}))


def test_a_file_of_another_size_than_its_item_declares_is_refused(files):
    size = Path(files["red"]).stat().st_size
    assert is_read(make_item(files, fields={"red": {"file:size": size}}))
    item = make_item(files, fields={"red": {"file:size": size + 1}})
    with pytest.raises(ReadError, match="its size is"):
        make_scenes([item], SENSOR)
