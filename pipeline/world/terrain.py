"""Relief, beds of rock, soils and plants of a region, before anything is altered."""

import numpy as np

from pipeline.world.deposits import Fault
from pipeline.world.fields import Field, draws, field, ramp
from pipeline.world.places import Place

Shares = dict[str, Field]


def relief(place: Place, seed: int, shape: tuple[int, int]) -> Field:
    """Return heights (y, x) in metres: ranges and basins, cut by gullies."""
    ranges = field(draws(seed, place.name, "ranges"), shape, 60, 2.7)
    gullies = field(draws(seed, place.name, "gullies"), shape, 15, 2.3)
    cut = np.abs(gullies) * ramp(ranges, -1.2, 0.8)
    return np.asarray(900 + place.relief * (ranges + 0.38 * cut), dtype=np.float32)


def rocks(place: Place, seed: int, faults: tuple[Fault, ...], height: Field) -> Shares:
    """Return the share of each rock (y, x): folded beds, thrown at the faults, cut by a stock."""
    shape = (height.shape[0], height.shape[1])
    bed = field(draws(seed, place.name, "folds"), shape, 60, 2.4)
    bed += 0.35 * (height - height.mean()) / place.relief
    for fault in faults:
        bed += np.float32(fault.throw) * (fault.side(shape) > 0)
    tops = np.quantile(bed, np.cumsum([share for _, share in place.rocks])[:-1])
    above = [np.ones(shape, np.float32), *(ramp(bed, top - 0.06, top + 0.06) for top in tops)]
    above.append(np.zeros(shape, np.float32))
    stock = ramp(field(draws(seed, place.name, "stock"), shape, 45, 2.6), 1.55, 1.65)
    found = {
        name: (low - high) * (1 - stock)
        for (name, _), low, high in zip(place.rocks, above, above[1:], strict=False)
    }
    found[place.stock] = found.get(place.stock, np.float32(0)) + stock
    return found


def soils(place: Place, seed: int, height: Field) -> Shares:
    """Return the share of each soil (y, x); what they leave is bare rock."""
    shape = (height.shape[0], height.shape[1])
    low = height + 0.10 * place.relief * field(draws(seed, place.name, "fans"), shape, 12, 1.8)
    level = np.quantile(low, place.alluvium)
    width = 0.22 * place.relief
    fill = 0.94 * (1 - ramp(low, level - width, level + width))
    # Thin soil lies on every slope, in patches, and hides part of the rock.
    thin = 0.06 + 0.20 * ramp(
        field(draws(seed, place.name, "thin soil"), shape, 14, 1.6), -0.8, 1.6
    )
    red = field(draws(seed, place.name, "red soil"), shape, 30, 2.2)
    red_share = 0.85 * ramp(red, *np.quantile(red, [1 - place.red_soil, 1 - place.red_soil / 3]))
    lake = 0.92 * (1 - ramp(low, *np.quantile(low, [place.playa * 0.6, place.playa * 1.4])))
    red_part = red_share * (1 - lake)
    rest = 1 - lake - red_part
    return {"playa": lake, "red_soil": red_part, "alluvium": rest * np.maximum(fill, thin)}


def plants(place: Place, seed: int, height: Field) -> Field:
    """Return the cover of plants (y, x), 0..0.95: more in gullies and on shaded slopes."""
    shape = (height.shape[0], height.shape[1])
    northward, _ = np.gradient(height)
    hollow = field(draws(seed, place.name, "hollows"), shape, 8, 1.6)
    thicket = ramp(field(draws(seed, place.name, "thickets"), shape, 16, 2.0), 1.2, 2.2)
    cover = place.plants * np.exp(0.45 * hollow + 0.35 * northward / northward.std())
    return np.asarray(np.clip(0.75 * cover + 0.6 * thicket, 0, 0.95), dtype=np.float32)
