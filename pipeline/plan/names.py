"""What an asset goes by: its key in an item, or a pattern for keys that are paths of files."""

from fnmatch import fnmatchcase
from pathlib import PurePosixPath


def goes_by(key: str, name: str) -> bool:
    """Return whether an asset's key is a name, or its last part fits a name with `*`.

    CMR-STAC makes a key of the end of the file's address, with its folders and without its
    extension (nasa/cmr-stac issue 406), so an extension that the name asks for may be missing.

    >>> goes_by("001/EMIT_L2A_RFL_001_a/EMIT_L2A_RFL_001_a", "EMIT_L2A_RFL_*.nc")
    True
    >>> goes_by("001/EMIT_L2A_RFL_001_a/EMIT_L2A_MASK_001_a", "EMIT_L2A_RFL_*.nc")
    False
    """
    if "*" not in name:
        return key == name
    last = PurePosixPath(key).name
    return fnmatchcase(last, name) or fnmatchcase(last + kind_of(name), name)


def kind_of(name: str) -> str:
    """Return the extension of a file, as in ".nc"; "" if it has none."""
    return PurePosixPath(name).suffix
