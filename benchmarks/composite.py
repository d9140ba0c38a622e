"""The engine beside its limit and its peer: `make bench`, or `python -m benchmarks.composite`.

Every measurement is a process of its own; the engines take turns, so that a busy minute on the
machine hits all of them; what is shown is the median of the runs, in CPU seconds, and its ratio to
the limit (GDAL decoding every block) in the same run.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.engines import ENGINES
from benchmarks.tile import DATA, FULL, QUARTER, QUICK, make_tile
from pipeline import files
from pipeline.grid import block_side

Runs = dict[str, list[dict[str, Any]]]

_TITLES = {
    "decode": "GDAL decodes every block (the limit)",
    "composite": "ours: masked median composite, in memory",
    "geomedian": "ours: masked geometric median, in memory",
    "4 maps": "ours: composite, 20 indices, 4 COGs",
    "8 maps": "ours: composite, 20 indices, 8 COGs",
    "28 maps": "ours: composite, 20 indices, 28 COGs",
    "odc": "odc-stac, dask, chunks of 2048: masked median, in memory",
}


def measure(engine: str, size: int, block: int, *, unaligned: bool) -> dict[str, Any]:
    """Run one engine once and return what it measured."""
    work = DATA / "work" / engine.replace(" ", "-")
    shutil.rmtree(work, ignore_errors=True)
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.engines", engine]
    command += [str(make_tile(size)), str(work), "--size", str(size), "--block", str(block)]
    done = subprocess.run(
        [*command, *(["--unaligned"] if unaligned else [])],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def take_turns(
    engines: list[str], runs: int, size: int, block: int, *, unaligned: bool = False
) -> Runs:
    """Run every engine `runs` times, one after the other, round by round."""
    found: Runs = {engine: [] for engine in engines}
    for number in range(runs):
        for engine in engines:
            once = measure(engine, size, block, unaligned=unaligned)
            found[engine].append(once)
            told = f"{once['cpu']:.1f} CPU-s, {once['wall']:.1f} s, {once['peak_mb']:.0f} MB"
            print(f"  {size} px, run {number + 1}/{runs}, {engine}: {told}", flush=True)
    return found


def table(found: Runs) -> str:
    """Return the runs as a Markdown table of medians."""
    lines = [
        "| engine | CPU-s | x limit | range | wall s | peak MB | of it result | tasks |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for engine, runs in found.items():
        against = [r["cpu"] / limit["cpu"] for r, limit in zip(runs, found["decode"], strict=True)]
        lines.append(
            f"| {_TITLES[engine]} | {median(r['cpu'] for r in runs):.1f} | {median(against):.2f} "
            f"| {min(against):.2f} to {max(against):.2f} | {median(r['wall'] for r in runs):.1f} "
            f"| {max(r['peak_mb'] for r in runs):.0f} | {runs[0].get('result_mb', 0):.0f} "
            f"| {runs[0]['tasks']} |"
        )
    return "\n".join(lines)


def agreement() -> str:
    """Compare the last results of ours and of odc-stac on the sample window, in counts."""
    ours, theirs = (np.load(DATA / "work" / e / "sample.npy") for e in ("composite", "odc"))
    apart = np.abs(ours - theirs) / 1e-4
    both = np.isfinite(apart)
    one_only = int((np.isfinite(ours) ^ np.isfinite(theirs)).sum())
    return (
        f"{both.sum()} values compared: largest difference {apart[both].max():.3f} counts, "
        f"{int((apart[both] > 1).sum())} over 1 count; {one_only} present in one of them only"
    )


def main() -> None:
    """Measure, print the tables, and leave the numbers beside the data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"a tile of {QUICK} px, 3 runs")
    parser.add_argument("--size", type=int, help=f"pixels on a side ({FULL} is a full tile)")
    parser.add_argument("--runs", type=int)
    side = block_side((FULL, FULL))
    parser.add_argument("--block", type=int, default=side, help="pixels on a side of a task")
    parser.add_argument("--unaligned", action="store_true", help="map in the next UTM zone")
    parser.add_argument("--growth", action="store_true", help="a quarter tile against a full one")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    asked = parser.parse_args()
    size = asked.size or (QUICK if asked.quick else FULL)
    runs = asked.runs or (3 if asked.quick else 5)
    engines = list(dict.fromkeys(["decode", *asked.engines]))
    results: dict[str, Runs] = {}
    if asked.growth:
        for each in (QUARTER, FULL):
            results[f"{each} px"] = take_turns(engines, runs, each, asked.block)
    else:
        kind = "unaligned" if asked.unaligned else "aligned"
        name = f"{size} px, {kind}"
        results[name] = take_turns(engines, runs, size, asked.block, unaligned=asked.unaligned)
    for name, found in results.items():
        print(f"\n{name}, tasks of {asked.block} px, median of {runs} runs\n\n{table(found)}")
    if {"composite", "odc"} <= set(engines):
        print(f"\nours against odc-stac: {agreement()}")
    files.write_json(_place(asked), json.loads(json.dumps(results)))


def _place(asked: argparse.Namespace) -> Path:
    given = "-".join(f"{k}={v}" for k, v in sorted(vars(asked).items()) if isinstance(v, int) and v)
    return DATA / "results" / f"{given or 'default'}.json"


if __name__ == "__main__":
    main()
