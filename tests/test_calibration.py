"""The offset of Sentinel-2 in every case: its metadata, its pixels, and whom to trust."""

import itertools
from datetime import UTC, datetime

import numpy as np
import pytest
from items import make_item, raster
from s2_items import S2, SCALE, is_right, make, opinions, said, truth

from pipeline.cube import make_scenes, sentinel2
from pipeline.errors import CatalogError

# Where metadata and pixels agree


@pytest.mark.parametrize(
    ("catalog", "collection", "declared", "properties"),
    [
        ("earth-search", "sentinel-2-c1-l2a", -0.1, {}),
        ("earth-search", "sentinel-2-l2a", -0.1, {"earthsearch__boa_offset_applied": False}),
        ("planetary-computer", "sentinel-2-l2a", None, {}),
        ("copernicus", "sentinel-2-l2a", None, {}),
        (None, "mine", -0.1, {}),
        (None, "mine", None, {}),
    ],
)
def test_a_new_baseline_as_it_was_made(tmp_path, catalog, collection, declared, properties):
    fields = {} if declared is None else said(declared)
    item = make(tmp_path, shifted=True, said=fields, collection=collection, **properties)
    made = make_scenes([item], S2, catalog=catalog)
    assert opinions(made)["decided"] == opinions(made)["observed"] == -1000
    assert made.scenes[0].bands[0].offset == pytest.approx(-0.1)
    assert is_right(made)


def test_an_old_baseline_has_no_offset_though_the_sensor_has_one(tmp_path):
    item = make(tmp_path, shifted=False, said={}, s2__processing_baseline="02.14")
    made = make_scenes([item], S2)
    assert opinions(made) == {"declared": None, "baseline": 0, "observed": 0, "decided": 0}
    assert is_right(made)


def test_a_harmonised_copy_that_says_so(tmp_path):
    flag = {"earthsearch__boa_offset_applied": True}
    for catalog, offset in itertools.product(("earth-search", None), (0.0, -0.1, None)):
        # Earth Search leaves the -0.1 that it took out standing beside the flag.
        fields = SCALE if offset is None else said(offset)
        item = make(tmp_path, shifted=False, said=fields, collection="sentinel-2-l2a", **flag)
        made = make_scenes([item], S2, catalog=catalog)
        assert opinions(made) == {"declared": 0, "baseline": -1000, "observed": 0, "decided": 0}
        assert "seen in the pixels" in made.notes["s2"]["counts"]["how"]
        assert is_right(made)


# Where they do not


def wrong_flag(folder, **more):
    flag = {"earthsearch__boa_offset_applied": False}
    given = {"said": said(-0.1), "collection": "sentinel-2-l2a"} | flag | more
    return make(folder, "liar", shifted=False, **given)


@pytest.mark.parametrize("catalog", ["earth-search", None])
def test_a_wrong_flag_stops_the_run_and_tells_the_three_values(tmp_path, catalog):
    with pytest.raises(CatalogError) as caught:
        make_scenes([wrong_flag(tmp_path)], S2, catalog=catalog, tolerant=True)
    told = str(caught.value)
    for part in ("item liar", "declared: -1000", "baseline 05.10: -1000", "observed: 0"):
        assert part in told
    assert "set search.trust to declared or observed, or" in told  # the baseline cannot know


def test_a_copy_that_says_it_was_corrected_and_was_not_stops_the_run(tmp_path):
    flag = {"earthsearch__boa_offset_applied": True, "collection": "sentinel-2-l2a"}
    item = make(tmp_path, shifted=True, said=said(-0.1), **flag)
    three = "declared: 0, baseline 05.10: -1000, observed: -1000"
    with pytest.raises(CatalogError, match=three):
        make_scenes([item], S2, catalog="earth-search")


def test_pixels_that_deny_the_baseline_of_a_raw_copy_stop_the_run(tmp_path):
    for catalog in ("planetary-computer", "copernicus"):
        item = make(tmp_path, shifted=False, said={}, collection="sentinel-2-l2a")
        three = r"declared: no word, baseline 05.10: -1000, observed: 0"
        with pytest.raises(CatalogError, match=three) as caught:
            make_scenes([item], S2, catalog=catalog)
        assert "declared, baseline or observed" in str(caught.value)


def test_a_wrong_flag_in_an_unknown_collection_stops_it_too(tmp_path):
    with pytest.raises(CatalogError, match="observed: 0"):
        make_scenes([wrong_flag(tmp_path, collection="copies")], S2)


@pytest.mark.parametrize(
    ("trust", "right"), [("observed", True), ("declared", False), ("baseline", False)]
)
def test_the_workflow_may_say_whom_to_trust(tmp_path, trust, right):
    item = wrong_flag(tmp_path)
    made = make_scenes([item], S2, trust=trust)
    assert opinions(made, "liar")["decided"] == (0 if right else -1000)
    assert f"trusts what is {trust}" in made.notes["liar"]["counts"]["how"]
    assert is_right(made) is right


def test_a_baseline_that_the_pixels_deny_stops_the_run(tmp_path):
    item = make(tmp_path, shifted=True, said={}, s2__processing_baseline="02.14")
    with pytest.raises(CatalogError, match=r"baseline 02.14: 0, observed: -1000"):
        make_scenes([item], S2)
    item.collection_id = "sentinel-2-l2a"  # there the baseline is not offered, though it is heard
    with pytest.raises(CatalogError, match=r"set search\.trust to declared or observed, or"):
        make_scenes([item], S2, catalog="earth-search")


def test_declarations_that_differ_among_bands_stop_the_run(tmp_path):
    item = make(tmp_path, shifted=True, said=said(-0.1))
    item.assets["red"].extra_fields = said(0.0)
    three = "declared: -1000 and 0, baseline 05.10: -1000, observed: -1000"
    with pytest.raises(CatalogError, match=three):
        make_scenes([item], S2)
    made = make_scenes([item], S2, trust="observed")
    assert {band.offset for band in made.scenes[0].bands} == {-0.1}
    assert opinions(made)["declared"] == [-1000, 0]
    own = make_scenes([item], S2, trust="declared").scenes[0].bands
    assert [band.offset for band in own[:4]] == pytest.approx([-0.1, -0.1, 0.0, -0.1])


def test_a_flag_that_denies_what_the_bands_declare_stops_the_run(tmp_path):
    """Not applied, of a baseline that brings it: it is due. The bands say that nothing is."""
    item = make(tmp_path, shifted=False, said=said(0.0), earthsearch__boa_offset_applied=False)
    with pytest.raises(CatalogError, match="declared: 0 and -1000, baseline"):
        make_scenes([item], S2)


@pytest.mark.parametrize(
    ("flag", "words", "version", "declared"),
    [
        (True, {"red": -1000.0, "blue": -1000.0}, "05.11", (0,)),
        (True, {"red": None}, None, (0,)),
        (True, {"red": -500.0}, "05.11", (-500, 0)),
        (False, {"red": -1000.0}, "05.11", (-1000,)),
        (False, {"red": None}, "05.11", (-1000,)),
        (False, {"red": None}, "02.14", (0,)),
        (False, {"red": None}, None, ()),
        (False, {"red": 0.0}, "05.11", (0, -1000)),
        (None, {"red": -1000.0, "blue": None}, "02.14", (-1000,)),
        (None, {"red": None}, "05.11", ()),
    ],
)
def test_what_the_flag_and_the_bands_declare_together(flag, words, version, declared):
    item = make_item({}, earthsearch__boa_offset_applied=flag)
    assert sentinel2.declared_offset(item, words, version) == declared


def test_another_scale_than_the_product_has_stops_the_run(tmp_path):
    item = make(tmp_path, shifted=True, said={"raster:bands": [{"scale": 1e-3, "offset": -1.0}]})
    with pytest.raises(CatalogError, match=r"item s2: band blue declares a scale of 0\.001"):
        make_scenes([item], S2)


# Where nobody can tell


def test_a_desert_without_dark_ground_is_dropped_by_name(tmp_path):
    flag = {"earthsearch__boa_offset_applied": True, "collection": "sentinel-2-l2a"}
    dry = make(tmp_path, "dry", shifted=False, desert=True, said=said(0.0), **flag)
    wet = make(tmp_path, "wet", shifted=False, said=said(0.0), **flag)
    made = make_scenes([dry, wet], S2, catalog="earth-search")
    assert [scene.item for scene in made.scenes] == ["wet"]
    assert made.dropped == {"dry": "its offset cannot be decided from what it offers"}
    assert opinions(made, "dry")["observed"] is None


def test_a_desert_whose_metadata_can_be_trusted_is_kept(tmp_path):
    item = make(tmp_path, shifted=True, desert=True, said=said(-0.1))
    made = make_scenes([item], S2, catalog="earth-search")
    assert opinions(made)["decided"] == -1000
    assert "the pixels do not say" in made.notes["s2"]["counts"]["how"]
    assert is_right(made, desert=True)


@pytest.mark.parametrize("shifted", [True, False])
def test_another_date_of_the_same_ground_decides(tmp_path, shifted):
    flag = {"collection": "sentinel-2-l2a", "grid__code": "MGRS-29RKH"}
    doubt = make(
        tmp_path,
        "doubt",
        shifted=shifted,
        desert=True,
        said=said(-0.1 if shifted else 0.0),
        earthsearch__boa_offset_applied=not shifted,
        **flag,
    )
    old = make(
        tmp_path,
        "old",
        shifted=False,
        desert=True,
        said=said(0.0),
        when=datetime(2020, 6, 20, tzinfo=UTC),
        **flag | {"s2__processing_baseline": "02.14"},
    )
    made = make_scenes([doubt, old], S2, catalog="earth-search")
    assert [scene.item for scene in made.scenes] == ["doubt", "old"]
    assert opinions(made, "doubt")["decided"] == (-1000 if shifted else 0)
    assert "another date of the same ground" in made.notes["doubt"]["counts"]["how"]
    assert is_right(made, desert=True)
    winter = make_scenes(
        [doubt, *_moved(old, datetime(2020, 12, 20, tzinfo=UTC))], S2, catalog="earth-search"
    )
    assert winter.dropped.keys() == {"doubt"}


def mixed(folder):
    """Items of which some agree with themselves, some do not, and some cannot be told."""
    copy = {"collection": "sentinel-2-l2a"}
    true, false = ({"earthsearch__boa_offset_applied": flag} for flag in (True, False))
    dry = {"desert": True}
    new = {"collection": "sentinel-2-c1-l2a", "said": said(-0.1)}
    return [
        make(folder, "new", shifted=True, **new, **dry),
        make(folder, "old", shifted=False, said={}, s2__processing_baseline="02.14", **dry, **copy),
        make(folder, "right", shifted=False, said=said(-0.1), **true, **copy),
        make(folder, "wrong", shifted=False, said=said(-0.1), **false, **copy),
        make(folder, "silent", shifted=False, said=said(-0.1), **true, **copy, **dry),
    ]


@pytest.mark.parametrize(
    ("trust", "wrong", "silent"),
    [("observed", 0, None), ("declared", -1000, 0), ("baseline", -1000, -1000)],
)
def test_trust_is_only_asked_for_items_in_doubt(tmp_path, trust, wrong, silent):
    items = mixed(tmp_path)
    made = make_scenes(items, S2, catalog="earth-search", trust=trust)
    expected = {"new": -1000, "old": 0, "right": 0, "wrong": wrong, "silent": silent}
    assert {item.id: opinions(made, item.id)["decided"] for item in items} == expected
    trusting = {i.id for i in items if "trusts" in made.notes[i.id]["counts"]["how"]}
    assert trusting == {"wrong", "silent"}
    assert made.dropped.keys() == {name for name, value in expected.items() if value is None}
    for scene in made.scenes:
        assert scene.bands[0].offset == pytest.approx(expected[scene.item] / 10_000)


def _moved(item, when):
    moved = item.clone()
    moved.datetime = when
    return [moved]


def test_an_item_without_a_baseline_and_without_a_word_is_decided_by_its_pixels(tmp_path):
    item = make(tmp_path, shifted=False, said={}, s2__processing_baseline=None)
    made = make_scenes([item], S2)
    assert opinions(made) == {"declared": None, "baseline": None, "observed": 0, "decided": 0}


@pytest.mark.parametrize("fields", [{}, SCALE])
@pytest.mark.parametrize("shifted", [True, False])
def test_an_omitted_offset_is_no_word(tmp_path, fields, shifted):
    """Not even beside a scale: nobody says then what the counts of a desert mean."""
    given = {"desert": True, "said": fields, "s2__processing_baseline": None}
    made = make_scenes([make(tmp_path, "dry", shifted=shifted, **given)], S2)
    assert opinions(made, "dry")["declared"] is None
    assert made.dropped == {"dry": "its offset cannot be decided from what it offers"}


def test_the_baseline_is_found_in_the_name_of_the_product(tmp_path):
    product = "S2A_MSIL2A_20200219T112111_N0214_R037_T29RKH_20200219T123947.SAFE"
    given = {"s2__processing_baseline": None, "s2__product_uri": product}
    made = make_scenes([make(tmp_path, shifted=False, said={}, **given)], S2)
    assert made.notes["s2"]["counts"]["baseline"] == "02.14"


def test_shadow_in_a_shifted_desert_is_not_mistaken_for_dark_ground(tmp_path):
    """At 2.2 um it has the counts of raw water; in the blue it has not."""
    item = make(
        tmp_path,
        shifted=False,
        desert=True,
        said=said(0.0),
        collection="sentinel-2-l2a",
        earthsearch__boa_offset_applied=True,
    )
    _, classes = truth(desert=True)
    classes[-12:] = 2
    raster(tmp_path / "s2" / "scl.tif", classes, nodata=0)
    for name, level in (("blue", 850), ("green", 900), ("red", 1000), ("swir22", 1100)):
        values, _ = truth(desert=True)
        counts = np.round(values[name] * 1e4).astype(np.uint16)
        counts[-12:] = level
        raster(tmp_path / "s2" / f"{name}.tif", counts, nodata=0)
    made = make_scenes([item], S2, catalog="earth-search")
    assert made.dropped.keys() == {"s2"}
