"""How long a process puts up with the faults of a host."""

import os
from dataclasses import dataclass, field
from random import SystemRandom
from threading import Lock
from time import sleep

_LONGEST = 30.0  # seconds between two tries
_REPAID = 0.1  # seconds that every answer gives back, so that a long run outlives rare faults
_HASTY = 5.0  # seconds that a host is given to answer once patience is lost
_RANDOM = SystemRandom()  # spreads tries in time, and touches no result


@dataclass
class Patience:
    """The seconds that one process has lost to the faults of one host."""

    lost: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def lose(self, seconds: float) -> None:
        """Count time that a fault has cost."""
        with self._lock:
            self.lost += seconds

    def repay(self) -> None:
        """Count an answer."""
        with self._lock:
            self.lost = max(self.lost - _REPAID, 0.0)

    def timeout(self, usual: float, patience: float) -> float:
        """Return the seconds to wait for an answer: few, once patience is lost."""
        return usual if self.lost < patience else min(usual, _HASTY)

    def wait(self, number: int, pause: float, asked: float, patience: float) -> bool:
        """Wait before the next try, and return whether there was patience left for it.

        The wait is exponential back-off with full jitter, and no shorter than the host asks for.

        Parameters
        ----------
        number : of tries so far.
        pause : the longest wait before the second try, seconds.
        asked : what the host asked for (Retry-After), seconds.
        patience : seconds that may be lost in all.
        """
        jittered = _RANDOM.uniform(0.0, min(pause * 2.0 ** (number - 1), _LONGEST))
        seconds = max(jittered, asked)
        with self._lock:
            if self.lost + seconds > patience:
                return False
            self.lost += seconds
        sleep(seconds)
        return True


_LOCK = Lock()
_BY_HOST: dict[tuple[int, str], Patience] = {}


def patience_with(place: str) -> Patience:
    """Return this process's patience with a host (`host` or `host:port`)."""
    with _LOCK:
        return _BY_HOST.setdefault((os.getpid(), place), Patience())
