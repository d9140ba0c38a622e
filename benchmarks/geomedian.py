"""The geometric median beside geomad, the peer behind odc-algo: `python -m benchmarks.geomedian`.

Both get the same spectra, tolerance and limit of steps, one thread each, and take turns. Geomad
has an environment of its own (`make bench` makes it, `--peer` names the Python of another); without
one only ours is measured. Geomad starts each pixel from its neighbour's median, ours from the
pixel's own mean: what is compared is where they arrive, on pixels of three dates or more, since of
two dates every point between them is a median.
"""

import argparse
import json
import subprocess
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np
from numpy.typing import NDArray

from benchmarks.tile import DATA
from pipeline.cube.dates import make_spectra
from pipeline.cube.geomedian import LIMIT, TOLERANCE, geomedian

PEER = DATA / "geomad" / "bin" / "python"
DATES, BANDS = 6, 10
_KEPT = 0.85  # share of dates that are clear
_GOAL = 2e-4  # reflectance

_GEOMAD = """
import json, sys, time
import numpy as np
from geomad import nangeomedian_pcm
spectra, out, tolerance, limit = sys.argv[1:]
x = np.load(spectra)
nangeomedian_pcm(x[:1, :16], eps=float(tolerance), maxiters=int(limit), num_threads=1)
start = time.process_time()
found = nangeomedian_pcm(x, eps=float(tolerance), maxiters=int(limit), num_threads=1)
print(json.dumps(time.process_time() - start))
np.save(out, found)
"""

Spectra = NDArray[np.float32]


def draw_spectra(side: int, seed: int = 1) -> tuple[Spectra, Spectra]:
    """Return reflectance (date, band, pixel) of ground that changes a little, and its weights."""
    random = np.random.default_rng(seed)
    shape = (DATES, BANDS, side * side)
    ground = random.uniform(0.05, 0.4, (1, *shape[1:]))
    light = random.normal(1, 0.05, (DATES, 1, side * side))
    spectra = make_spectra(*shape)
    spectra[:] = ground * light + random.normal(0, 0.01, shape)
    clear = random.random((DATES, side * side)) < _KEPT
    return spectra, clear.astype(np.float32)


def ours(spectra: Spectra, clear: Spectra, tolerance: float) -> tuple[float, Spectra]:
    """Return CPU seconds and the median (band, pixel)."""
    out = np.empty(spectra.shape[1:], np.float32)
    few = np.ascontiguousarray(spectra[..., :16]), np.ascontiguousarray(clear[:, :16])
    geomedian(*few, np.empty((BANDS, 16), np.float32), tolerance=tolerance, limit=LIMIT)
    start = process_time()
    geomedian(spectra, clear, out, tolerance=tolerance, limit=LIMIT)
    return process_time() - start, out


def theirs(python: Path, spectra: Path, tolerance: float) -> tuple[float, Spectra]:
    """Return the same of geomad, run by its own Python on a stack (y, x, band, date) on disk."""
    result = spectra.with_name("geomad.npy")
    command = [str(python), "-c", _GEOMAD, str(spectra), str(result), str(tolerance), str(LIMIT)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: Spectra = np.load(result)
    return float(json.loads(done.stdout)), found.reshape(-1, BANDS).T


def main() -> None:
    """Measure both, and say how far they are apart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512, help="pixels on a side")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="reflectance")
    parser.add_argument("--peer", type=Path, default=PEER, help="a Python that has geomad")
    asked = parser.parse_args()
    million = asked.size**2 / 1e6
    spectra, clear = draw_spectra(asked.size)
    if not asked.peer.exists():
        print(f"no geomad at {asked.peer} (make bench installs it): only ours is measured")
    work = DATA / "work"
    work.mkdir(parents=True, exist_ok=True)
    missing = np.where(clear[:, None] > 0, spectra, np.float32(np.nan)).transpose(2, 1, 0)
    np.save(work / "spectra.npy", missing.reshape(asked.size, asked.size, BANDS, DATES).copy())
    cpu: dict[str, list[float]] = {"ours": [], "geomad": []}
    for _ in range(asked.runs):
        seconds, found = ours(spectra, clear, asked.tolerance)
        cpu["ours"].append(seconds / million)
        if asked.peer.exists():
            seconds, other = theirs(asked.peer, work / "spectra.npy", asked.tolerance)
            cpu["geomad"].append(seconds / million)
    _, exact = ours(spectra, clear, 1e-11)
    unique = clear.sum(axis=0) > 2
    print(f"{DATES} dates, {BANDS} bands, {million:.2f} Mpx, tolerance {asked.tolerance:g}")
    speed = f"{median(cpu['ours']):.2f} CPU-s per Mpx"
    print(f"ours: {speed}, {_apart(found, exact, unique)} from the limit")
    if asked.peer.exists():
        speed = f"{median(cpu['geomad']):.2f} CPU-s per Mpx"
        print(f"geomad: {speed}, {_apart(other, exact, unique)} from the limit")
        print(f"ours from geomad: {_apart(found, other, unique)} (goal: {_GOAL:g})")


def _apart(one: Spectra, other: Spectra, where: NDArray[np.bool_]) -> str:
    return f"at most {np.abs(one - other)[:, where].max():.1e}"


if __name__ == "__main__":
    main()
