"""The only room that opens an address: catalogs as text, assets as rasters or bytes.

    address     what may be opened, judged before anything connects
    connection  one exchange with one host        patience  how long its faults are put up with
    signing     credentials, at the moment of reading
    fetch       documents and parts of files, asked again with care
    heads       parts as they come, and how files begin
    parts       a file behind an address, read part by part       sound  whether its bytes are right
    raster      rasters, through GDAL

What a catalog says is not trusted, and neither is what a host sends (docs/network.md).
"""

from pipeline.remote.address import LOCAL, Access, check, is_address, shown
from pipeline.remote.connection import TIMEOUT, Traffic, traffic
from pipeline.remote.fetch import read_text, request_text
from pipeline.remote.heads import look_again, version
from pipeline.remote.parts import forget, open_bytes, stamp
from pipeline.remote.raster import GDAL_SETTINGS, open_raster
from pipeline.remote.signing import require_credentials

__all__ = [
    "GDAL_SETTINGS",
    "LOCAL",
    "TIMEOUT",
    "Access",
    "Traffic",
    "check",
    "forget",
    "is_address",
    "look_again",
    "open_bytes",
    "open_raster",
    "read_text",
    "request_text",
    "require_credentials",
    "shown",
    "stamp",
    "traffic",
    "version",
]
