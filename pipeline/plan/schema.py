"""What workflows and the other files of configs/ may say: one frozen model for each kind."""

from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from pipeline.plan.base import Fraction, Identifier, Plan, Positive

Level = Literal["operator", "participants", "public"]
Colour = Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")]


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
    """West, south, east, north in `crs`; west > east crosses the antimeridian."""
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
    """A catalog of configs/catalogs/ by name, a path (relative to the workflow file) or an
    address; `--catalog` overrides it."""
    hosts: tuple[str, ...] = ()
    """Further hosts that assets may be read from."""
    collections: tuple[str, ...] = ()
    """None named: where the catalog is known to keep the sensor's items, else every collection."""
    datetime: str | None = None
    """start/end, ISO 8601, `..` for open."""
    months: tuple[Annotated[int, Field(ge=1, le=12)], ...] = ()
    """Months of the year that are wanted; none named means all."""
    max_cloud: Annotated[float, Field(ge=0.0, le=100.0)] = 100.0
    """Percent."""
    min_sun_elevation: Annotated[float, Field(ge=-90.0, le=90.0)] | None = None
    """Degrees above the horizon."""
    min_overlap: Fraction = 0.0
    """Share of the region that an item's footprint has to cover."""
    per_cell: Annotated[int, Field(ge=1)] | None = None
    """At most so many items of each grid cell (tile, path and row), the least cloudy first."""
    filter: dict[str, Any] | None = None
    """Further conditions, as CQL2 JSON."""
    trust: Literal["declared", "baseline", "observed"] | None = None
    """Whom to believe where an item's offset is in doubt; None: nobody, the run stops."""
    min_readable: Fraction = 1.0
    """Share of the wanted imagery that has to be readable; below it the run stops."""
    release: Level = "operator"
    originators: tuple[str, ...] = ()

    @field_validator("datetime")
    @classmethod
    def _a_span_of_time(cls, text: str | None) -> str | None:
        if text is None:
            return text
        start, slash, end = text.partition("/")
        if not slash:
            raise ValueError("give start/end, such as 2024-05-01/2024-09-30")
        moments = [datetime.fromisoformat(m) for m in (start, end) if m not in ("", "..")]
        days = [moment.date() for moment in moments]
        if days != sorted(days):
            raise ValueError("it ends before it starts: write the earlier day first")
        return text


class Masking(Plan):
    """Which ground counts as clear, beyond what the sensor's own masks say."""

    drop: tuple[Identifier, ...] | None = None
    """Flags of the sensor's masks to drop; None: those the sensor drops."""
    dilate: dict[Identifier, Annotated[float, Field(gt=0.0, le=5000.0)]] = {}
    """Metres by which a flag is grown before it is dropped."""
    bright_guard: bool = False
    """Keep ground that is flagged as cloud on nearly every date: it is bright, not cloudy."""
    publish: tuple[Identifier, ...] = ()
    """Flags whose share of the dates becomes a map."""

    @model_validator(mode="after")
    def _each_flag_once(self) -> "Masking":
        for key, flags in (("drop", self.drop or ()), ("publish", self.publish)):
            if len(set(flags)) < len(flags):
                raise ValueError(f"composite.masks.{key} names a flag twice")
        return self


class Composite(Plan):
    """How many dates become one picture."""

    method: Literal["median", "geomedian", "percentile", "best-pixel", "bare-earth"] = "median"
    percentile: Annotated[float, Field(ge=0.0, le=100.0)] = 50.0
    masks: Masking = Masking()
    illumination: Literal["none", "c", "minnaert"] = "none"
    """Correction of each date for the slope of the ground; needs `terrain`."""


class Terrain(Plan):
    """Where the elevation is, for corrections of illumination."""

    sensor: str
    search: Search = Search()


class Also(Plan):
    """One more sensor on the same grid; its bands come after those of the first."""

    sensor: str
    search: Search = Search()
    composite: Composite = Composite()


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


class Learning(NamedTuple):
    """Where and how a study learns."""

    training: Training
    model: str
    validation: Validation


class Workflow(Plan):
    """workflows/<study>.yaml: one study.

    One without `training`, `model` and `validation` maps its evidence and nothing else.
    """

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
    composite: Composite = Composite()
    also: tuple[Also, ...] = ()
    terrain: Terrain | None = None
    grid: Grid = Grid()
    training: Training | None = None
    mapping: Shown
    evidence: Literal["all"] | tuple[str, ...] = ()
    """Indices that are mapped as layers of their own; `all` means every one the sensor feeds."""
    model: str | None = None
    validation: Validation | None = None
    zones: Zones = Zones()
    style: str = "minerals"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @property
    def learns(self) -> bool:
        """Whether the study trains a model (rather than only mapping evidence)."""
        return self.training is not None

    @property
    def learning(self) -> Learning:
        """Where and how the study learns; ValueError if it does not."""
        if self.training is None or self.model is None or self.validation is None:
            raise ValueError("training, model and validation go together")
        return Learning(self.training, self.model, self.validation)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that are learnt; none where nothing is."""
        return self.training.classes if self.training else ()

    @property
    def composites(self) -> dict[str, Composite]:
        """How dates become one picture, by sensor, the workflow's own first."""
        others = {more.sensor: more.composite for more in self.also}
        return {self.sensor: self.composite} | others

    @property
    def regions(self) -> tuple[str, ...]:
        """Every region of the study, those of training first."""
        learnt = self.training.regions if self.training else ()
        return tuple(dict.fromkeys([*learnt, *self.mapping.regions]))

    @model_validator(mode="after")
    def _learns_whole_or_not(self) -> "Workflow":
        parts = {"training": self.training, "model": self.model, "validation": self.validation}
        missing = [key for key, value in parts.items() if value is None]
        if 0 < len(missing) < len(parts):
            raise ValueError(f"the key '{missing[0]}' is missing; add it")
        if missing and not self.evidence:
            raise ValueError("nothing is asked for: name indices under evidence, or training")
        return self

    @model_validator(mode="after")
    def _each_once(self) -> "Workflow":
        named: dict[str, tuple[str, ...]] = {
            "mapping.regions": self.mapping.regions,
            "evidence": self.evidence if self.evidence != "all" else (),
        }
        if self.learns:
            training, model, validation = self.learning
            named["training.regions"] = training.regions
            named["validation.baselines"] = (model, *validation.baselines)
        for key, names in named.items():
            if len(set(names)) < len(names):
                raise ValueError(f"{key} names something twice")
        for name in self.regions:
            if name == "stac":
                raise ValueError("a region cannot be called 'stac': the collection is kept there")
        return self

    @model_validator(mode="after")
    def _terrain_where_needed(self) -> "Workflow":
        composites = [self.composite, *(more.composite for more in self.also)]
        if self.terrain is None and any(c.illumination != "none" for c in composites):
            raise ValueError("composite.illumination needs terrain: name a sensor of elevation")
        sensors = [self.sensor, *(more.sensor for more in self.also)]
        if len(set(sensors)) < len(sensors):
            raise ValueError("also names a sensor twice")
        return self

    @model_validator(mode="after")
    def _known_zone_classes(self) -> "Workflow":
        for name in self.zones.classes:
            if name not in self.classes:
                raise ValueError(f"zones.classes names '{name}', which is not a training class")
        return self
