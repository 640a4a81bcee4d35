"""The bill of materials of what is installed with the framework, in CycloneDX's JSON.

``python -m release.sbom FILE`` writes it from ``constraints/``: what every user gets is required,
what extras bring is optional. It has no date, no random number and no address, so that the same
pins give the same file anywhere.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from importlib.metadata import PackageNotFoundError, metadata, requires
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import (
    ExternalReference,
    ExternalReferenceType,
    HashAlgorithm,
    HashType,
    Property,
    XsUri,
)
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from plugin_framework import __version__
from release.licences import licence
from release.pins import EXTRAS, RUNTIME, Pin, read

PROJECT = "datahub-plugin-framework"
REPRODUCIBLE = Property(name="cdx:reproducible", value="true")


def bill() -> str:
    """The bill as JSON, checked by CycloneDX's schema. ValueError: it does not hold."""
    pins = {pin.name: pin for pin in read(EXTRAS)}
    required = {pin.name for pin in read(RUNTIME)}
    ours = Component(
        type=ComponentType.LIBRARY,
        name=PROJECT,
        version=__version__,
        bom_ref=PROJECT,
        purl=PackageURL("pypi", None, PROJECT, __version__),
        licenses=[LicenseFactory().make_from_string("Apache-2.0")],
    )
    bom = Bom(metadata=BomMetaData(component=ours, properties=[REPRODUCIBLE]))
    parts = {name: _component(pin, required=name in required) for name, pin in pins.items()}
    bom.components.update(parts.values())
    needs = _graph()
    for name, part in {PROJECT: ours, **parts}.items():
        needed = sorted(needs.get(name, set()) & parts.keys())
        bom.register_dependency(part, [parts[other] for other in needed])
    return _valid(_without_chance(bom))


def _component(pin: Pin, *, required: bool) -> Component:
    purl = PackageURL("pypi", None, pin.name, pin.version)
    return Component(
        type=ComponentType.LIBRARY,
        name=pin.name,
        version=pin.version,
        bom_ref=purl.to_string(),
        purl=purl,
        scope=ComponentScope.REQUIRED if required else ComponentScope.OPTIONAL,
        licenses=[LicenseFactory().make_from_string(licence(pin))],
        # A version has many files, one for each platform: any of these is the one.
        external_references=[
            ExternalReference(
                type=ExternalReferenceType.DISTRIBUTION,
                url=XsUri(purl.to_string()),
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sum_) for sum_ in pin.hashes],
            )
        ],
    )


def _graph() -> dict[str, set[str]]:
    """What each package needs on some platform, with the extras that it is asked for with."""
    needs: dict[str, set[str]] = {}
    extras = defaultdict(set, {PROJECT: set(metadata(PROJECT).get_all("Provides-Extra") or ())})
    found = [PROJECT]
    while found:
        name = found.pop()
        needed = [one for one in _requirements(name) if _is_needed(one, extras[name])]
        needs[name] = {canonicalize_name(one.name) for one in needed}
        for one in needed:
            other = canonicalize_name(one.name)
            if other not in needs or not one.extras <= extras[other]:
                extras[other] |= one.extras
                found.append(other)
    return needs


def _requirements(name: str) -> list[Requirement]:
    try:
        return [Requirement(line) for line in requires(name) or ()]
    except PackageNotFoundError:  # needed elsewhere only
        return []


def _is_needed(requirement: Requirement, extras: set[str]) -> bool:
    marker = requirement.marker
    if marker is None or "extra ==" not in str(marker):
        return True
    return any(marker.evaluate({"extra": extra}) for extra in extras)


def _without_chance(bom: Bom) -> str:
    written = json.loads(JsonV1Dot6(bom).output_as_string())
    del written["serialNumber"], written["metadata"]["timestamp"]
    return json.dumps(written, indent=2, sort_keys=True)


def _valid(text: str) -> str:
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error:
        raise ValueError(f"not CycloneDX: {error}")
    return text


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(bill() + "\n", encoding="utf-8")
