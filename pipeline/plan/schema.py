"""What the files of configs/ and workflows/ may say: one frozen model for each kind."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Level = Literal["operator", "participants", "public"]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Colour = Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")]
Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class Plan(BaseModel):
    """What every file has in common: nothing unknown, nothing changed after it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Band(Plan):
    """One band of a sensor."""

    assets: tuple[str, ...] = Field(min_length=1)
    """Names the band's asset goes by, in order of preference."""
    wavelength: Positive
    """Band centre, nm."""
    fwhm: Positive
    """Full width at half maximum, nm."""


class Mask(Plan):
    """A quality mask of classes, read by nearest neighbour and never otherwise."""

    assets: tuple[str, ...] = Field(min_length=1)
    keep: tuple[int, ...] = Field(min_length=1)
    """Classes of clear ground; every other class is dropped."""


class Sensor(Plan):
    """configs/sensors/<name>.yaml: how a sensor's numbers become surface reflectance."""

    title: str
    bands: dict[Identifier, Band] = Field(min_length=1)
    resolution: Positive
    """Pixel size that mapping uses unless the workflow says otherwise, metres."""
    scale: float = 1.0
    """Reflectance per count where the item declares none."""
    offset: float = 0.0
    """Reflectance of count zero where the item declares none."""
    nodata: float | None = None
    mask: Mask | None = None
    source: str


class Check(Plan):
    """A worked value: operands by wavelength, and what the formula must give."""

    operands: dict[str, float]
    value: float


class Index(Plan):
    """configs/indices/<name>.yaml: a spectral index by wavelength, with its source."""

    title: str
    formula: str
    """Operands r<nm> are surface reflectance at that wavelength."""
    units: str = "1"
    targets: tuple[str, ...] = ()
    confusers: tuple[str, ...] = ()
    high_means: str
    status: Literal["published", "adapted", "experimental"]
    source: str
    checks: tuple[Check, ...] = Field(min_length=1)


class Candidate(Plan):
    """An estimator by its name in pipeline/model/estimators.py, with its parameters."""

    estimator: str
    params: dict[str, float | int | str | bool | None] = {}


class Model(Plan):
    """configs/models/<name>.yaml: the layers a model looks at, and the estimators it may be."""

    title: str
    features: tuple[str, ...] = Field(min_length=1)
    """Evidence layers or families of them; `name@m` is the mean within m metres."""
    candidates: tuple[Candidate, ...] = Field(min_length=1)
    """More than one: spatial cross-validation inside the training samples chooses."""
    source: str


class Region(Plan):
    """configs/regions/<name>.yaml: an area, and later the agreement that covers it."""

    title: str
    bbox: tuple[float, float, float, float] | None = None
    """West, south, east, north in `crs`."""
    geometry: dict[str, Any] | None = None
    """A GeoJSON Polygon or MultiPolygon in `crs`, instead of a bbox."""
    crs: str = "EPSG:4326"
    release: Level = "operator"
    originators: tuple[str, ...] = ()
    agreement: str | None = None

    @model_validator(mode="after")
    def _one_outline(self) -> "Region":
        if (self.bbox is None) == (self.geometry is None):
            raise ValueError("give either bbox or geometry")
        if self.bbox and not (self.bbox[0] < self.bbox[2] and self.bbox[1] < self.bbox[3]):
            raise ValueError("bbox is west, south, east, north with west < east and south < north")
        return self


class Style(Plan):
    """configs/styles/<name>.yaml: the colours of the classes and of the continuous maps."""

    title: str
    classes: dict[Identifier, Colour] = {}
    ramp: tuple[Colour, ...] = Field(min_length=2)
    """Colours of a score from 0 to 1, low to high."""
    spread_ramp: tuple[Colour, ...] = Field(min_length=2)
    support_ramp: tuple[Colour, ...] = Field(min_length=2)
    other: tuple[Colour, ...] = Field(min_length=1)
    """Colours for classes that have none of their own."""


class Training(Plan):
    """Where the model learns."""

    regions: tuple[Identifier, ...] = Field(min_length=1)
    sites: dict[str, str] = Field(min_length=1)
    """For each training region, the vector file of its sites (relative to the workflow file)."""
    label: str = "label"
    """The column that holds the class of a site."""
    classes: tuple[Identifier, ...] = Field(min_length=2)
    release: Level = "operator"
    originators: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _sites_everywhere(self) -> "Training":
        if missing := set(self.regions) - self.sites.keys():
            raise ValueError(f"no sites are named for {', '.join(sorted(missing))}")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("a class is named twice")
        return self


class Shown(Plan):
    """Where the model is shown."""

    regions: tuple[Identifier, ...] = Field(min_length=1)


class Grid(Plan):
    """The pixels of the maps; what is left out follows the imagery."""

    crs: str | None = None
    resolution: Positive | None = None
    """Metres."""


class Search(Plan):
    """Which items are wanted."""

    catalog: str | None = None
    """Path (relative to the workflow file) or address; `--catalog` overrides it."""
    collections: tuple[str, ...] = ()
    datetime: str | None = None
    """start/end, ISO 8601, `..` for open."""
    max_cloud: Annotated[float, Field(ge=0.0, le=100.0)] = 100.0
    """Percent."""
    release: Level = "operator"
    originators: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _a_span_of_time(self) -> "Search":
        for moment in (self.datetime or "../..").split("/", 1):
            if moment not in ("", ".."):
                datetime.fromisoformat(moment)  # its ValueError says what is wrong
        if "/" not in (self.datetime or "/"):
            raise ValueError("search.datetime is start/end, such as 2024-05-01/2024-09-30")
        return self


class Validation(Plan):
    """How the model is tried: blocks in space, many layouts, and what it has to beat."""

    block: Positive
    """Side of a block, metres."""
    layouts: Annotated[int, Field(ge=2)] = 10
    folds: Annotated[int, Field(ge=2)] = 5
    baselines: tuple[str, ...] = ()
    """Models that the workflow's own must beat."""


class Zones(Plan):
    """What counts as a prospective zone."""

    classes: tuple[Identifier, ...] = ()
    """Classes of interest; none named means every class."""
    area_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05
    """Share of the mapped area, highest scores first, that a class may take."""
    min_score: Fraction = 0.0
    """Scores below this are never a zone, however high they rank."""
    min_area_km2: Annotated[float, Field(ge=0.0)] = 0.01


class Workflow(Plan):
    """workflows/<study>.yaml: one study."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    title: str
    purpose: str | None = None
    """What the agreement allows the study to be used for (checked by a later capability)."""
    commodities: tuple[str, ...] = ()
    schedule: str | None = None
    caveats: tuple[str, ...] = ()
    """Sentences the report repeats, about these inputs."""
    sensor: str
    search: Search = Search()
    grid: Grid = Grid()
    training: Training
    mapping: Shown
    evidence: Literal["all"] | tuple[str, ...] = ()
    """Indices that are mapped as layers of their own; `all` means every one the sensor feeds."""
    model: str
    validation: Validation
    zones: Zones = Zones()
    style: str = "minerals"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _each_once(self) -> "Workflow":
        named = {
            "training.regions": self.training.regions,
            "mapping.regions": self.mapping.regions,
            "evidence": self.evidence if self.evidence != "all" else (),
            "validation.baselines": (self.model, *self.validation.baselines),
        }
        for key, names in named.items():
            if len(set(names)) < len(names):
                raise ValueError(f"{key} names something twice")
        for name in (*self.training.regions, *self.mapping.regions):
            if name == "stac":
                raise ValueError("a region cannot be called 'stac': the collection is kept there")
        return self

    @model_validator(mode="after")
    def _known_zone_classes(self) -> "Workflow":
        for name in self.zones.classes:
            if name not in self.training.classes:
                raise ValueError(f"zones.classes names '{name}', which is not a training class")
        return self
