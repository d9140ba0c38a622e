"""What a study asks for: frozen models of the files in configs/ and workflows/.

A folder is the registry: `configs/<kind>/<name>.yaml` defines the thing called <name>. A folder of
the user's own (`--configs`) is looked at first, so a new sensor, index, model, region or style is
one new file. Nothing here reads imagery.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from pipeline.errors import PlanError, did_you_mean

_HERE = Path(__file__).resolve().parent
BUILT_IN = next(p for p in (_HERE.parent / "configs", _HERE / "configs") if p.is_dir())
"""The configurations that come with the package (beside it in a clone, inside it installed)."""

Level = Literal["operator", "participants", "public"]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Colour = Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")]
Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class _Plan(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Band(_Plan):
    """One band of a sensor."""

    assets: tuple[str, ...] = Field(min_length=1)
    """Names the band's asset goes by, in order of preference."""
    wavelength: Positive
    """Band centre, nm."""
    fwhm: Positive
    """Full width at half maximum, nm."""


class Mask(_Plan):
    """A quality mask of classes, read by nearest neighbour and never otherwise."""

    assets: tuple[str, ...] = Field(min_length=1)
    keep: tuple[int, ...] = Field(min_length=1)
    """Classes of clear ground; every other class is dropped."""


class Sensor(_Plan):
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


class Check(_Plan):
    """A worked value: operands by wavelength, and what the formula must give."""

    operands: dict[str, float]
    value: float


class Index(_Plan):
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


class Candidate(_Plan):
    """An estimator by its name in pipeline/model/estimators.py, with its parameters."""

    estimator: str
    params: dict[str, float | int | str | bool | None] = {}


class Model(_Plan):
    """configs/models/<name>.yaml: the layers a model looks at, and the estimators it may be."""

    title: str
    features: tuple[str, ...] = Field(min_length=1)
    """Evidence layers or families of them; `name@m` is the mean within m metres."""
    candidates: tuple[Candidate, ...] = Field(min_length=1)
    """More than one: spatial cross-validation inside the training samples chooses."""
    source: str


class Region(_Plan):
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


class Style(_Plan):
    """configs/styles/<name>.yaml: the colours of the classes and of the continuous maps."""

    title: str
    classes: dict[Identifier, Colour] = {}
    ramp: tuple[Colour, ...] = Field(min_length=2)
    """Colours of a score from 0 to 1, low to high."""
    spread_ramp: tuple[Colour, ...] = Field(min_length=2)
    other: tuple[Colour, ...] = Field(min_length=1)
    """Colours for classes that have none of their own."""


class Training(_Plan):
    """Where the model learns."""

    regions: tuple[str, ...] = Field(min_length=1)
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


class Shown(_Plan):
    """Where the model is shown."""

    regions: tuple[str, ...] = Field(min_length=1)


class Grid(_Plan):
    """The pixels of the maps; what is left out follows the imagery."""

    crs: str | None = None
    resolution: Positive | None = None
    """Metres."""


class Search(_Plan):
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


class Validation(_Plan):
    """How the model is tried: blocks in space, many layouts, and what it has to beat."""

    block: Positive
    """Side of a block, metres."""
    layouts: Annotated[int, Field(ge=2)] = 10
    folds: Annotated[int, Field(ge=2)] = 5
    baselines: tuple[str, ...] = ()
    """Models that the workflow's own must beat."""


class Zones(_Plan):
    """What counts as a prospective zone."""

    classes: tuple[Identifier, ...] = ()
    """Classes of interest; none named means every class."""
    area_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05
    """Share of the mapped area, highest scores first, that a class may take."""
    min_score: Fraction = 0.0
    """Scores below this are never a zone, however high they rank."""
    min_area_km2: Annotated[float, Field(ge=0.0)] = 0.01


class Workflow(_Plan):
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
    seed: int = 0

    @model_validator(mode="after")
    def _known_zone_classes(self) -> "Workflow":
        for name in self.zones.classes:
            if name not in self.training.classes:
                raise ValueError(f"zones.classes names '{name}', which is not a training class")
        return self


_KINDS: Mapping[str, type[_Plan]] = {
    "sensors": Sensor,
    "indices": Index,
    "models": Model,
    "regions": Region,
    "styles": Style,
}

AnyPlan = TypeVar("AnyPlan", bound=_Plan)


@dataclass(frozen=True)
class Configs:
    """The configuration folders, the user's own first."""

    folders: tuple[Path, ...] = (BUILT_IN,)

    @classmethod
    def at(cls, own: Path | None = None) -> "Configs":
        """Return the built-in folder, after the user's own if there is one."""
        if own is not None and not own.is_dir():
            raise PlanError(
                "is not a folder", where=str(own), remedy="give --configs a folder of YAML files"
            )
        return cls((own, BUILT_IN) if own else (BUILT_IN,))

    def names(self, kind: str) -> list[str]:
        """Return every name of a kind ("sensors", "indices", "models", "regions", "styles")."""
        return sorted({p.stem for f in self.folders for p in (f / kind).glob("*.yaml")})

    def sensor(self, name: str) -> Sensor:
        """Return a sensor by name; raise PlanError for an unknown name or a wrong file."""
        return self._get("sensors", name, Sensor)

    def index(self, name: str) -> Index:
        """Return a spectral index by name; raise PlanError likewise."""
        return self._get("indices", name, Index)

    def model(self, name: str) -> Model:
        """Return a model recipe by name; raise PlanError likewise."""
        return self._get("models", name, Model)

    def region(self, name: str) -> Region:
        """Return a region by name; raise PlanError likewise."""
        return self._get("regions", name, Region)

    def style(self, name: str) -> Style:
        """Return a style by name; raise PlanError likewise."""
        return self._get("styles", name, Style)

    def _get(self, kind: str, name: str, model: type[AnyPlan]) -> AnyPlan:
        for folder in self.folders:
            path = folder / kind / f"{name}.yaml"
            if name in self.names(kind) and path.is_file():
                found: AnyPlan = _read(path, model)
                return found
        raise PlanError(
            f"'{name}' is not known",
            where=f"configs/{kind}",
            remedy=did_you_mean(name, self.names(kind)),
        )


def load_workflow(path: Path) -> Workflow:
    """Read a workflow file; raise PlanError naming the key, the file and the nearest known key."""
    workflow: Workflow = _read(path.resolve(), Workflow)
    return workflow


@cache
def _read(path: Path, model: type[AnyPlan]) -> AnyPlan:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(
            f"cannot be read ({getattr(error, 'strerror', None) or 'it is not UTF-8 text'})",
            where=str(path),
            remedy="check the path",
        ) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that no calendar has
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise PlanError(
            f"is not YAML{line}", where=str(path), remedy="mend the indentation or the quotes there"
        ) from error
    if not isinstance(content, dict):
        raise PlanError(
            "holds no keys", where=str(path), remedy="write one 'key: value' line per setting"
        )
    try:
        # YAML has lists where the models have tuples: JSON mode reads one as the other, strictly.
        return model.model_validate_json(_as_json(content, path), strict=True)
    except ValidationError as error:
        raise _plan_error(path, model, content, error.errors()) from error


def _as_json(content: dict[Any, Any], path: Path) -> str:
    try:
        return json.dumps(content, default=str)
    except (TypeError, ValueError) as error:  # a key that is a date, an alias that holds itself
        raise PlanError(
            "holds more than plain keys and values",
            where=str(path),
            remedy="write keys as words, and no aliases that hold themselves",
        ) from error


def _plan_error(
    path: Path, model: type[_Plan], content: dict[Any, Any], details: list[ErrorDetails]
) -> PlanError:
    detail, said = _deepest(content, details)
    place = ".".join(_place(content, detail))
    if detail["type"] == "extra_forbidden":
        key = place.rpartition(".")[2]
        return PlanError(
            f"unknown key '{place}'", where=str(path), remedy=did_you_mean(key, _keys(model, place))
        )
    if detail["type"] == "missing":
        return PlanError(f"the key '{place}' is missing", where=str(path), remedy="add it")
    if not place:
        return PlanError(said, where=str(path), remedy="correct it")
    return PlanError(
        f"'{place}' is {_short(detail['input'])}", where=str(path), remedy=said.lower()
    )


def _deepest(content: dict[Any, Any], details: list[ErrorDetails]) -> tuple[ErrorDetails, str]:
    """Return one fault and what is said of it.

    A value that may be one of several kinds has a fault for each: the deepest is the one meant.
    """
    first = _place(content, details[0])
    kin = [d for d in details if _place(content, d)[: len(first)] == first]
    detail = max(kin, key=lambda d: len(_place(content, d)))
    same = [d["msg"] for d in kin if _place(content, d) == _place(content, detail)]
    return detail, " or ".join(dict.fromkeys(m.removeprefix("Value error, ") for m in same))


def _place(content: Any, detail: ErrorDetails) -> list[str]:
    """Return the keys that lead to a fault, without pydantic's own names for kinds of value."""
    place, inner = [], content
    for part in detail["loc"]:
        if isinstance(inner, dict) and (part in inner or detail["type"] == "missing"):
            inner = inner.get(part)
        elif isinstance(inner, list) and isinstance(part, int):
            inner = inner[part] if part < len(inner) else None
        else:
            continue
        place.append(str(part))
    return place


def _keys(model: type[_Plan], place: str) -> list[str]:
    """Return the keys allowed where an unknown one was found, walking down the dotted place."""
    fields = model.model_fields
    for part in place.split(".")[:-1]:
        inner = [
            kind
            for kind in _models_in(fields[part].annotation if part in fields else None)
            if issubclass(kind, _Plan)
        ]
        if inner:
            fields = inner[0].model_fields
    return list(fields)


def _models_in(annotation: Any) -> list[type[_Plan]]:
    if isinstance(annotation, type) and issubclass(annotation, _Plan):
        return [annotation]
    return [m for arg in getattr(annotation, "__args__", ()) for m in _models_in(arg)]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
