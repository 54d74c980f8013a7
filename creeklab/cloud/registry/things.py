"""Things: made, changed, deleted and listed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.registry.books import Books, Listed, check_version, found, invalid, not_found
from creeklab.cloud.registry.records import Thing, thing_record
from creeklab.cloud.store import Page

MAX_ATTRIBUTES = 3  # of a Thing without a thing type


class Things:
    """The Things of one account."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def create(self, name: str, attributes: Mapping[str, str]) -> Thing:
        """Create a Thing, or return the one that is there if its attributes are the same."""
        attributes = _checked(attributes)
        with self._books.changing() as db:
            thing = self.find(name)
            if thing is None:
                thing = Thing(name, str(uuid.uuid4()), 1, attributes)
                db.execute(
                    "INSERT INTO things (name, id, version, attributes) VALUES (?, ?, 1, ?)",
                    (name, thing.id, json.dumps(attributes)),
                )
            elif thing.attributes != attributes:
                raise ServiceError(
                    "ResourceAlreadyExistsException",
                    f"Thing {name} already exists in account with different attributes",
                    resourceId=thing.id,
                    resourceArn=self._books.arn("thing", name),
                )
        return thing

    def find(self, name: str) -> Thing | None:
        """Return a Thing, or None if there is none of this name."""
        row = self._books.store.execute("SELECT * FROM things WHERE name = ?", (name,)).fetchone()
        return None if row is None else thing_record(row)

    def get(self, name: str) -> Thing:
        """Return a Thing."""
        thing = self.find(name)
        if thing is None:
            raise not_found(f"Thing {name} does not exist in your account")
        return thing

    def page(
        self,
        page: Page,
        attribute: str | None = None,
        value: str | None = None,
        prefix: bool = False,
    ) -> Listed[Thing]:
        """List Things by name.

        Parameters
        ----------
        attribute, value, prefix
            Only Things that have this attribute, with this value or, if `prefix`, with one that
            begins with it.
        """
        condition = "TRUE"
        if attribute is not None:
            test = "substr(value, 1, length(:value)) = :value" if prefix else "value = :value"
            condition = (
                "EXISTS (SELECT 1 FROM json_each(attributes) "
                f"WHERE key = :attribute AND (:value IS NULL OR {test}))"
            )
        rows, token = self._books.store.page(
            "SELECT * FROM things", "name", page, condition, attribute=attribute, value=value
        )
        return [thing_record(row) for row in rows], token

    def update(
        self,
        name: str,
        attributes: Mapping[str, str] | None,
        *,
        merge: bool = False,
        expected_version: int | None = None,
    ) -> None:
        """Replace a Thing's attributes, or add to them; one with the value '' is removed."""
        with self._books.changing() as db:
            thing = self.get(name)
            check_version("thing", name, thing.version, expected_version)
            if attributes is None:
                attributes = thing.attributes
            elif merge:
                attributes = {**thing.attributes, **attributes}
            db.execute(
                "UPDATE things SET version = version + 1, attributes = ? WHERE name = ?",
                (json.dumps(_checked(attributes)), name),
            )

    def delete(self, name: str, expected_version: int | None = None) -> None:
        """Delete a Thing that nothing is attached to; that it is not there is no error."""
        with self._books.changing() as db:
            thing = self.find(name)
            if thing is None:
                return
            check_version("thing", name, thing.version, expected_version)
            if found(db, "SELECT 1 FROM thing_principals WHERE thing = ?", name):
                raise invalid(
                    f"Cannot delete. Thing {name} is still attached to one or more principals",
                )
            db.execute("DELETE FROM things WHERE name = ?", (name,))


def _checked(attributes: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in attributes.items() if value}
    if len(kept) > MAX_ATTRIBUTES:
        raise invalid(
            f"A thing without a thing type can have at most {MAX_ATTRIBUTES} attributes; this one "
            f"would have {len(kept)}: {', '.join(kept)}.",
        )
    return kept
