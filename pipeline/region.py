"""The outline of a region: from its file, in its CRS, refused where it is no area on the ground."""

from odc.geo import CRS
from odc.geo.geom import Geometry
from pyproj.exceptions import CRSError
from shapely.errors import GEOSException
from shapely.geometry import box, shape

from pipeline.errors import PlanError, RegionError
from pipeline.plan import Region


def outline_of(region: Region) -> Geometry:
    """Return the outline of a region in its own CRS.

    Raises
    ------
    PlanError : the CRS is unknown.
    RegionError : it is no polygon, is empty, or crosses itself.
    """
    try:
        crs = CRS(region.crs)
    except CRSError as error:
        raise unknown_crs(region.crs, f"region {region.title}") from error
    try:
        plain = box(*region.bbox) if region.bbox else shape(region.geometry or {})
        usable = plain.geom_type in ("Polygon", "MultiPolygon") and plain.is_valid
    except (GEOSException, AttributeError, KeyError, TypeError, ValueError):
        usable = False
    if not usable or plain.is_empty:
        raise RegionError(
            "the outline is not a polygon, is empty, or crosses itself",
            where=f"region {region.title}",
            remedy="mend its geometry",
        )
    return Geometry(plain, crs)


def unknown_crs(crs: str, where: str) -> PlanError:
    """Return the error for a CRS that is not known."""
    return PlanError(
        f"the CRS '{crs}' is not known", where=where, remedy="write it as EPSG:<number>"
    )
