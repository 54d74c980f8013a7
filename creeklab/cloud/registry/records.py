"""Records of the registry: Things, their types and groups, certificates and policies.

A Thing and a certificate also return the policy variables of a connection that uses them. All times
are seconds since the epoch.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from cryptography import x509
from cryptography.x509.oid import NameOID

# Policy variables for the parts of a certificate's subject and issuer (developer guide, "X.509
# certificate AWS IoT Core policy variables").
_NAME_PARTS = {
    "DistinguishedNameQualifier": NameOID.DN_QUALIFIER,
    "Country": NameOID.COUNTRY_NAME,
    "Organization": NameOID.ORGANIZATION_NAME,
    "OrganizationalUnit": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "State": NameOID.STATE_OR_PROVINCE_NAME,
    "CommonName": NameOID.COMMON_NAME,
    "SerialNumber": NameOID.SERIAL_NUMBER,
    "Title": NameOID.TITLE,
    "Surname": NameOID.SURNAME,
    "GivenName": NameOID.GIVEN_NAME,
    "Initials": NameOID.INITIALS,
    "Pseudonym": NameOID.PSEUDONYM,
    "GenerationQualifier": NameOID.GENERATION_QUALIFIER,
}

_ALTERNATIVE_NAMES = {
    "Subject": x509.SubjectAlternativeName,
    "Issuer": x509.IssuerAlternativeName,
}
_ALTERNATIVE_PARTS = {
    "RFC822Name": x509.RFC822Name,
    "DNSName": x509.DNSName,
    "DirectoryName": x509.DirectoryName,
    "UniformResourceIdentifier": x509.UniformResourceIdentifier,
    "IPAddress": x509.IPAddress,
}
# The guide writes the keys of a directory name in lower case.
_LOWER_CASE = {
    NameOID.COUNTRY_NAME: "c",
    NameOID.ORGANIZATION_NAME: "o",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "ou",
    NameOID.STATE_OR_PROVINCE_NAME: "st",
    NameOID.LOCALITY_NAME: "l",
    NameOID.COMMON_NAME: "cn",
}
MAX_VALUES = 5
"""Values of one certificate attribute that count; the guide says that more are ignored."""


@dataclass(frozen=True, slots=True)
class Thing:
    """A Thing; its version starts at 1 and grows by 1 with each update."""

    name: str
    id: str
    version: int
    attributes: dict[str, str]
    type: str | None = None

    def variables(self) -> dict[str, str]:
        """Return the ``iot:Connection.Thing`` variables of a connection of this Thing."""
        prefix = "iot:Connection.Thing."
        return {
            prefix + "ThingName": self.name,
            **({prefix + "ThingTypeName": self.type} if self.type else {}),
            **{f"{prefix}Attributes[{name}]": value for name, value in self.attributes.items()},
        }


@dataclass(frozen=True, slots=True)
class ThingType:
    """A thing type; `deprecated` is the time of its deprecation, if it is deprecated.

    `properties` has the members of the API: ``thingTypeDescription``, ``searchableAttributes``,
    ``mqtt5Configuration``.
    """

    name: str
    id: str
    properties: dict[str, Any]
    created: float
    deprecated: float | None


@dataclass(frozen=True, slots=True)
class ThingGroup:
    """A static thing group; its version starts at 1 and grows by 1 with each update."""

    name: str
    id: str
    parent: str | None
    version: int
    description: str | None
    attributes: dict[str, str]
    created: float


@dataclass(frozen=True, slots=True)
class Certificate:
    """A registered certificate, in PEM; `generation` changes if its id is registered again.

    `mode` is ``DEFAULT`` or ``SNI_ONLY``; `external` certificates were signed by another authority.
    """

    id: str
    pem: str
    status: str
    generation: str
    created: float
    modified: float
    not_before: float
    not_after: float
    mode: str = "DEFAULT"
    external: bool = False


def certificate_variables(certificate_id: str, pem: str) -> dict[str, str | tuple[str, ...]]:
    """Return the ``iot:CertificateId`` and ``iot:Certificate`` variables of a certificate.

    If a part of a name occurs several times, the plain variable is the first value, ``.0``, ``.1``
    and so on are the single values, and ``.List`` has all of them.
    """
    certificate = x509.load_pem_x509_certificate(pem.encode())
    found: dict[str, str | tuple[str, ...]] = {
        "iot:CertificateId": certificate_id,
        "iot:Certificate.SerialNumber": str(certificate.serial_number),
    }

    def add(variable: str, values: Iterable[str]) -> None:
        kept = tuple(values)[:MAX_VALUES]
        if kept:
            found[variable], found[f"{variable}.List"] = kept[0], kept
            found.update({f"{variable}.{index}": value for index, value in enumerate(kept)})

    for side, name in (("Subject", certificate.subject), ("Issuer", certificate.issuer)):
        for part, oid in _NAME_PARTS.items():
            values = name.get_attributes_for_oid(oid)
            add(f"iot:Certificate.{side}.{part}", (_escaped(str(one.value)) for one in values))
    for side, kind in _ALTERNATIVE_NAMES.items():
        names = _alternative_names(certificate, kind)
        for part, of_part in _ALTERNATIVE_PARTS.items():
            values_of_part = (one.value for one in names if isinstance(one, of_part))
            add(f"iot:Certificate.{side}.AlternativeName.{part}", map(_text, values_of_part))
    available = tuple(name for name in found if not name.endswith(".List"))
    found["iot:Certificate.AvailableKeys"] = available
    return found


def _alternative_names(certificate: x509.Certificate, kind: Any) -> list[x509.GeneralName]:
    """Return the names in an extension; none if it is missing or cannot be read."""
    try:
        return list(certificate.extensions.get_extension_for_class(kind).value)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return []


def _text(value: object) -> str:
    if isinstance(value, x509.Name):
        return value.rfc4514_string(_LOWER_CASE)
    return str(value)


def _escaped(value: str) -> str:
    return re.sub(r'[,"\\+=<>;]', r"\\\g<0>", value)


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy, without its documents."""

    name: str
    default_version: int
    last_version: int
    generation: str
    created: float
    modified: float


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """One version of a policy."""

    policy: str
    version: int
    document: str
    created: float


Record = TypeVar("Record", Thing, ThingType, ThingGroup, Certificate, Policy, PolicyVersion)

TABLES: Mapping[type, str] = {
    Thing: "things",
    ThingType: "thing_types",
    ThingGroup: "thing_groups",
    Certificate: "certificates",
    Policy: "policies",
    PolicyVersion: "policy_versions",
}
"""The table of each kind of record; its columns are named like the fields."""

_JSON = ("attributes", "properties")


def from_row(kind: type[Record], row: sqlite3.Row) -> Record:
    """Return the record in a row; objects are stored as JSON text."""
    return kind(
        **{
            name: json.loads(row[name]) if name in _JSON else row[name]
            for name in kind.__dataclass_fields__
        }
    )


def insert(db: sqlite3.Connection, record: Record) -> None:
    """Insert a record; objects are stored as JSON text."""
    row = asdict(record)
    names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
    plain = {name: json.dumps(value) if name in _JSON else value for name, value in row.items()}
    db.execute(f"INSERT INTO {TABLES[type(record)]} ({names}) VALUES ({values})", plain)
