"""The gain settings of ASTER: radiance for each count, by what the instrument was set to."""

import pystac

from pipeline.errors import CatalogError
from pipeline.plan import Band

_SETTINGS = {"hgh": "high", "nor": "normal", "lo1": "low1", "low": "low1", "lo2": "low2"}


def gain_of(item: pystac.Item, asset: pystac.Asset, name: str, band: Band) -> tuple[float, bool]:
    """Return the radiance per count of a band, and whether the item tells its gain setting.

    The setting is looked for under `aster:gains` of the asset and of the item: by the band's name,
    HGH, NOR, LO1 or LO2.
    """
    for place in (asset.extra_fields, item.properties):
        settings = place.get("aster:gains")
        if isinstance(settings, dict) and name in settings:
            word = str(settings[name]).lower()
            setting = _SETTINGS.get(word, word)
            if setting not in band.gains:
                raise CatalogError(
                    f"band {name} has no gain setting '{settings[name]}'",
                    where=f"item {item.id}",
                    remedy=f"known: {', '.join(band.gains)}",
                )
            return band.gains[setting], True
    return band.gains["normal"], False
