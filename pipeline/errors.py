"""Every error a user can meet, each with the exit code a script can act on.

ProspectraError                  1   anything below
├── PlanError                    3   a workflow or configuration file is wrong
│   └── FormulaError             3   an index formula is wrong
├── CatalogError                 4   the catalog cannot be searched, or holds nothing that fits
├── ReadError                    5   an asset cannot be read
├── RegionError                  6   the region and the imagery do not meet
├── TrainingError                7   the training sites cannot train a model
├── SplitError                   8   the sites cannot be split in space
├── OutputError                  9   the output folder cannot be written
├── BusyError                   10   another run holds the output folder
└── ClusterError                11   the cluster does not answer, or lost its workers

Exit code 0 is success, 2 a wrong command line, 130 an interrupted run (run it again to go on).
"""

from collections.abc import Iterable
from difflib import get_close_matches


class ProspectraError(Exception):
    """One clear sentence: what is wrong, where, and what to do about it.

    Parameters
    ----------
    what : the fault, naming the thing.
    where : the file, item, region or address it was found in.
    remedy : what the user can do.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str, remedy: str) -> None:
        super().__init__(what, where, remedy)
        self.what, self.where, self.remedy = what, where, remedy

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}."

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        # Errors travel from worker processes, and exceptions forget keyword arguments on the way.
        return _rebuild, (type(self), self.what, self.where, self.remedy)


class PlanError(ProspectraError):
    """A workflow or configuration file is wrong."""

    exit_code = 3


class FormulaError(PlanError):
    """An index formula is wrong."""


class CatalogError(ProspectraError):
    """The catalog cannot be searched, or holds nothing that fits."""

    exit_code = 4


class ReadError(ProspectraError):
    """An asset cannot be read."""

    exit_code = 5


class RegionError(ProspectraError):
    """The region and the imagery do not meet."""

    exit_code = 6


class TrainingError(ProspectraError):
    """The training sites cannot train a model."""

    exit_code = 7


class SplitError(ProspectraError):
    """The sites cannot be split in space as asked."""

    exit_code = 8


class OutputError(ProspectraError):
    """The output folder cannot be written."""

    exit_code = 9


class BusyError(ProspectraError):
    """Another run holds the output folder."""

    exit_code = 10


class ClusterError(ProspectraError):
    """The cluster does not answer, or lost its workers."""

    exit_code = 11


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a remedy for an unknown name: the nearest known one, or the whole list.

    >>> did_you_mean("sensr", ["sensor", "model"])
    "did you mean 'sensor'?  known: model, sensor"
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"did you mean '{close[0]}'?  " if close else ""
    return f"{hint}known: {', '.join(names) or 'none'}"


def _rebuild(kind: type[ProspectraError], what: str, where: str, remedy: str) -> ProspectraError:
    return kind(what, where=where, remedy=remedy)
