"""What a run has finished for one region: the maps, the zones and where they came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

import geopandas as gpd

from pipeline.plan import Style

Kind = Literal["class", "score", "spread", "support", "evidence", "share", "count"]


@dataclass(frozen=True)
class Product:
    """One map of one region, already written as a COG of one band.

    Continuous maps carry their scale and offset in the file; the class map holds 1..k in the order
    of `classes`.
    """

    name: str
    """Unique in the region, and a file name: `class`, `support`, `score_<class>`."""
    kind: Kind
    title: str
    path: Path
    unit: str = "1"
    """Of the values after scale and offset; "1" is a plain number."""
    classes: tuple[str, ...] = ()
    """The class map only: names of the values 1..k."""
    limits: tuple[float, float] | None = None
    """Values at the two ends of the colour ramp; none means what suits the kind and the data."""
    description: str = ""

    @property
    def quicklook(self) -> Path:
        """The picture of the map."""
        return self.path.with_suffix(".png")

    @property
    def style(self) -> Path:
        """The QGIS style: beside the map, where QGIS looks for it."""
        return self.path.with_suffix(".qml")

    @property
    def tiles(self) -> Path:
        """The folder of web tiles; the MBTiles file lies beside it."""
        return self.path.parent / "tiles" / self.name

    @property
    def mbtiles(self) -> Path:
        """The web tiles in one file."""
        return self.tiles.with_name(f"{self.name}.mbtiles")


@dataclass(frozen=True)
class Finished:
    """Everything the writers need to know of one region."""

    region: str
    """Its identifier; STAC ids begin with it."""
    title: str
    """Of the region, for people."""
    study: str
    """Title of the workflow."""
    folder: Path
    """The zones are written in here; what belongs to a map lies beside its COG."""
    products: tuple[Product, ...]
    zones: gpd.GeoDataFrame | None
    """In the projected CRS of the maps, with at least `class` and `rank`; it may be empty. None:
    the study learns nothing, so there is nothing to find zones in."""
    style: Style
    start: datetime
    end: datetime
    """Time span of the imagery, UTC."""
    items: tuple[str, ...] = ()
    """Ids of the STAC items the maps were made from."""
    software: Mapping[str, str] = field(default_factory=dict)
    """Name to version."""
    digest: str = ""
    """Of the run."""
    release: str = "operator"

    @property
    def geopackage(self) -> Path:
        """The zones, with their QGIS style."""
        return self.folder / "zones.gpkg"

    @property
    def geoparquet(self) -> Path:
        """The zones again, for data frames."""
        return self.folder / "zones.parquet"


def title_of(name: str) -> str:
    """Return an identifier as people read it.

    >>> title_of("white_mica")
    'White mica'
    """
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]
