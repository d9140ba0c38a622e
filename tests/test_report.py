import re
from copy import deepcopy
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from pipeline.report import write_report


def scores(mean, spread=0.02):
    steps = np.linspace(-spread, spread, 10)
    return {"auc": (mean + steps).tolist(), "ap": (mean - 0.3 + steps).tolist()}


def interval(mean):
    return {"mean": mean, "low": mean - 0.01, "high": mean + 0.01}


def validation(skill=True):
    classes = {"alunite": {"auc": 0.93, "ap": 0.71, "prevalence": 0.2}}
    classes["white_mica"] = {"auc": 0.84, "ap": 0.55, "prevalence": 0.31}
    return {
        "block_m": 1700.0,
        "layouts": 10,
        "folds": 5,
        "model": "spectral-context",
        "models": {
            "forest-bands": scores(0.746),
            "spectral-context": scores(0.871),
            "svm-context": scores(0.852),
            "permuted labels (control)": scores(0.5),
        },
        "paired": {
            "forest-bands": {"auc": interval(0.125), "ap": interval(0.1)},
            "svm-context": {"auc": interval(0.019), "ap": interval(-0.02)},
        },
        "random": {"auc": 0.951, "ap": 0.71},
        "per_class": classes,
        "verdict": {"skill": skill, "sentence": "spectral-context did what it did: AUC 0.871."},
    }


def product(name, kind, title):
    paths = {"path": f"north/{name}.tif", "quicklook": f"north/{name}.png"}
    return {"name": name, "kind": kind, "title": title, "sha256": "ab" * 32, **paths}


RUN = {
    "name": "study",
    "title": "Mineral groups <at> Cuprite",
    "purpose": "Show the chain",
    "commodities": ["gold"],
    "digest": "0123456789abcdef" * 4,
    "level": "operator",
    "release": {"level": "public", "originators": ["USGS"]},
    "regions": {"training": ["north"], "mapping": ["north"], "titles": {"north": "Cuprite north"}},
    "sensor": {"name": "tm", "title": "Landsat TM bands"},
    "items": {
        "north": [
            {
                "id": "scene-1",
                "sensor": "tm",
                "datetime": "1995-06-19",
                "cloud_cover": None,
                "kept": True,
                "counts": {"how": "offset -0.1, as the item says"},
                "grid": ["the file has other pixels than the item says"],
            },
            {
                "id": "scene-2",
                "sensor": "tm",
                "datetime": "1995-06-20",
                "cloud_cover": 81.0,
                "kept": False,
                "reason": "too cloudy",
            },
        ]
    },
    "composites": {"tm": "median of the clear dates"},
    "mapped": {"north": 0.875},
    "coverage": {
        "north": {
            "tm": {
                "wanted": 4000,
                "lost": 50,
                "share": 0.9875,
                "gaps": [{"item": "scene-3", "reason": "asset red: HTTP 404", "pixels": 50}],
            },
            "other": {"share": 1.0, "gaps": []},
        }
    },
    "model": {
        "name": "spectral-context",
        "title": "Log ratios with context",
        "features": ["log_ratios", "log_ratios@100"],
        "chosen": {"estimator": "svm", "params": {"C": 10.0}},
    },
    "validation": validation(),
    "products": {
        "north": [
            product("class", "class", "Class"),
            product("alunite", "score", "Score: alunite"),
            product("evidence_clay", "evidence", "Clay ratio"),
        ]
    },
    "zones": {
        "north": {
            "count": 12,
            "top": [
                {
                    "rank": 1,
                    "class": "white_mica",
                    "score": 0.912,
                    "area_km2": 1.234,
                    "evidence": "clay high",
                }
            ],
        }
    },
    "seed": 7,
    "caveats": ["The georeference is nominal."],
    "versions": {"prospectra": "0.1.0", "numpy": "2.4"},
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "north").mkdir()
    for name in ("class", "alunite", "evidence_clay"):
        Image.new("RGB", (8, 8), "#d81e5b").save(tmp_path / "north" / f"{name}.png")
    return tmp_path


class Page(HTMLParser):
    """What a page asks for, and its text."""

    def __init__(self, text):
        super().__init__()
        self.asked, self.text, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.asked += [value for key, value in attrs if key in ("src", "srcset", "data")]
        assert tag not in ("script", "link", "iframe", "object")
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("meta", "img", "br"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def page_of(folder, run=RUN, reference=None):
    text = write_report(run, folder, reference).read_text(encoding="utf-8")
    page = Page(text)
    assert not page.open, "every element is closed"
    return text, " ".join(" ".join(page.text).split()), page


def test_the_page_asks_nothing_of_anyone(folder):
    text, _, page = page_of(folder)
    assert len(page.asked) == 2, "class and score; evidence is linked"
    assert all(source.startswith("data:image/png;base64,") for source in page.asked)
    assert not re.search(r"https?://|url\(|@import", text)
    assert "default-src 'none'" in text


def test_text_from_outside_is_escaped(folder):
    text, words, _ = page_of(folder)
    assert "<at>" not in text
    assert "Mineral groups <at> Cuprite" in words


def test_scores_stand_with_their_spread_and_the_optimistic_number_is_called_so(folder):
    _, words, _ = page_of(folder)
    assert "0.871" in words
    assert "0.853–0.889" in words  # 5 to 95 percent of the ten layouts
    assert "+0.125 (+0.115 to +0.135)" in words
    assert "−0.020 (−0.030 to −0.010)" in words
    assert "random (optimistic)" in words
    assert "gap to spatial +0.080" in words  # 0.951 less the spatial mean 0.871
    assert "The georeference is nominal." in words


def test_every_item_is_told_with_what_its_counts_mean_or_why_it_was_left_out(folder):
    _, words, _ = page_of(folder)
    assert "1 of 2 items used" in words
    assert "offset -0.1, as the item says" in words
    assert "its item contradicts its files in 1 place; the files are believed" in words
    assert "scene-2 1995-06-20 too cloudy" in words


def test_what_could_not_be_read_is_named_with_its_share(folder):
    _, words, _ = page_of(folder)
    assert "98.75 % of the imagery of tm could be read" in words
    assert "50 of 4000 pixels" in words
    assert "scene-3 asset red: HTTP 404 50" in words
    assert "87.50 % of the region was clear on some date" in words
    assert "tm : median of the clear dates" in words
    assert "imagery of other" not in words, "what was read whole is not worth a line"


def test_a_model_without_skill_is_said_to_have_none(folder):
    _, words, _ = page_of(folder)
    assert "Skill on unseen ground." in words
    _, words, _ = page_of(folder, RUN | {"validation": validation(skill=False)})
    assert "No skill shown." in words
    assert "Skill on unseen ground." not in words


def test_scores_against_a_reference_come_in_a_part_of_their_own(folder):
    _, words, _ = page_of(folder)
    assert "reference map" not in words
    region = {
        "pixels": 1234,
        "trained_here": True,
        "auc": 0.8,
        "ap": None,
        "per_class": {"alunite": {"auc": None, "ap": 0.5, "prevalence": 0.1}},
        "deposits": {"known": 9, "in_zones": 7, "zones": 12, "area_share": 0.031},
    }
    _, words, _ = page_of(folder, RUN, {"regions": {"north": region}, "validation": validation()})
    assert "Scores against a reference map" in words
    assert "these numbers flatter it" in words
    assert "7 of 9 known places lie in a prospective zone" in words
    assert "3.1 % of the region" in words
    assert "macro average precision not known" in words
    assert words.count("random (optimistic)") == 2


def test_a_region_without_zones_is_no_error(folder):
    run = deepcopy(RUN)
    run["zones"]["north"] = {"count": 0, "top": []}
    _, words, _ = page_of(folder, run)
    assert "No ground of this region is a zone by the workflow's rules." in words


def test_the_same_record_is_the_same_bytes(folder):
    first = page_of(folder)[0]
    assert page_of(folder)[0] == first
