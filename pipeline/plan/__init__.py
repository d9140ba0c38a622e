"""What a study asks for: frozen models of the files in configs/ and workflows/.

A folder is the registry: `configs/<kind>/<name>.yaml` defines the thing called <name>. A folder of
the user's own (`--configs`) is looked at first, so a new sensor, index, model, region or style is
one new file. Nothing here reads imagery.
"""

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import PlanError, did_you_mean
from pipeline.plan.reading import AnyPlan, read
from pipeline.plan.schema import (
    Also,
    Candidate,
    Check,
    Composite,
    Grid,
    Index,
    Learning,
    Masking,
    Model,
    Region,
    Search,
    Shown,
    Style,
    Terrain,
    Training,
    Validation,
    Workflow,
    Zones,
)
from pipeline.plan.sensors import Band, Catalog, Holding, Mask, Sensor

__all__ = [
    "BUILT_IN",
    "Also",
    "Band",
    "Candidate",
    "Catalog",
    "Check",
    "Composite",
    "Configs",
    "Grid",
    "Holding",
    "Index",
    "Learning",
    "Mask",
    "Masking",
    "Model",
    "Region",
    "Search",
    "Sensor",
    "Shown",
    "Style",
    "Terrain",
    "Training",
    "Validation",
    "Workflow",
    "Zones",
    "load_workflow",
]

_PACKAGE = Path(__file__).resolve().parent.parent
BUILT_IN = next(p for p in (_PACKAGE.parent / "configs", _PACKAGE / "configs") if p.is_dir())
"""The configurations that come with the package (beside it in a clone, inside it installed)."""


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
        """Return every name of a kind (catalogs, sensors, indices, models, regions, styles)."""
        return sorted({p.stem for f in self.folders for p in (f / kind).glob("*.yaml")})

    def catalog(self, name: str) -> Catalog:
        """Return a catalog by name; raise PlanError for an unknown name or a wrong file."""
        return self._get("catalogs", name, Catalog)

    def sensor(self, name: str) -> Sensor:
        """Return a sensor by name; raise PlanError likewise."""
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
                found: AnyPlan = read(path, model)
                return found
        raise PlanError(
            f"'{name}' is not known",
            where=f"configs/{kind}",
            remedy=did_you_mean(name, self.names(kind)),
        )


def load_workflow(path: Path) -> Workflow:
    """Read a workflow file; raise PlanError naming the key, the file and the nearest known key."""
    workflow: Workflow = read(path.resolve(), Workflow)
    return workflow
