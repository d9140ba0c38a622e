"""Validates STAC without a network."""

import json
from pathlib import Path

from pystac.validation.stac_validator import JsonSchemaSTACValidator

SCHEMAS = Path(__file__).parent / "stac_schemas"


def offline_validator() -> JsonSchemaSTACValidator:
    """Core schemas from pystac, extension schemas from `stac_schemas`, nothing fetched."""
    checker = JsonSchemaSTACValidator()
    for path in SCHEMAS.glob("*.json"):
        schema = json.loads(path.read_text(encoding="utf-8"))
        checker.schema_cache[schema["$id"].rstrip("#")] = schema
    return checker
