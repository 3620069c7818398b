"""Holds a bill of materials against the published CycloneDX schema and the SPDX grammar."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from license_expression import get_spdx_licensing


def schema_problems(sbom: Mapping[str, Any]) -> list[str]:
    """Says what the CycloneDX 1.6 schema and SPDX have against a document.

    The schema checks single licence identifiers; expressions are free text to it.
    """
    found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(sbom))
    problems = [str(found.data.message)] if found else []
    spdx = get_spdx_licensing()
    for part in sbom["components"]:
        for licence in part.get("licenses", ()):
            if "expression" in licence:
                problems += spdx.validate(licence["expression"]).errors
    return problems
