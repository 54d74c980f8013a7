"""The pages of the console, made of what the account says at the moment one goes there.

Each page is put together by one function, from `console_account.py`'s answers into the parts of
`console_parts.py`. The order and the names are those of the AWS console in the tutorial.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from creeklab.display.html import block, code, escape, heading, mark, muted, pretty, tag
from creeklab.widgets.console_client import CHOICES, ConsoleClient, Listed
from creeklab.widgets.console_elements import (
    Action,
    ActionRow,
    Done,
    Element,
    Field,
    Form,
    Html,
    Link,
    Page,
    Route,
    Rows,
    Tool,
    VolatileCell,
)
from creeklab.widgets.policy_model import NEW_DOCUMENT, fault_of

SECTIONS = ("Monitor", "Things", "Certificates", "Policies", "Test")
TABS = ("Details", "Security", "Shadow", "Activity", "Interact")

THINGS, CERTIFICATES, POLICIES = Route("things"), Route("certificates"), Route("policies")

_STATUS = {"ACTIVE": "good", "REVOKED": "bad"}
_WORDS = {
    "update": "send this to update the shadow",
    "update/accepted": "the update was accepted",
    "update/rejected": "the update was rejected, with the reason",
    "update/delta": "desired and reported differ",
    "update/documents": "the whole document before and after an update",
    "get": "send this to get the shadow",
    "get/accepted": "the shadow you asked for",
    "get/rejected": "there is none, or it could not be given",
    "delete": "send this to delete the shadow",
    "delete/accepted": "the shadow was deleted",
    "delete/rejected": "it could not be deleted",
}


class ConsolePages:
    """Puts the pages of one account together."""

    def __init__(self, account: ConsoleClient) -> None:
        self._account = account
        self._builders: dict[str, Callable[[Route], Page]] = {
            "monitor": self._monitor,
            "things": self._things,
            "thing": self._thing,
            "certificates": self._certificates,
            "certificate": self._certificate,
            "policies": self._policies,
            "policy": self._policy,
            "test": self._test,
        }

    def build(self, place: Route) -> Page:
        """Return the page of a place.

        Raises
        ------
        botocore.exceptions.ClientError
            If there is no such thing (any more).
        """
        return self._builders[place.page](place)

    # --- monitor, test ------------------------------------------------------------------------

    def _monitor(self, place: Route) -> Page:
        counts = ", ".join(f"{name}: {count}" for name, count in self._account.counts().items())
        parts: list[Element] = [Html(tag("p", escape(f"{counts}.")))]
        if self._account.local:
            parts.append(Tool("monitor"))
        else:
            words = (
                "AWS counts connections and messages in CloudWatch, namespace AWS/IoT, and charges "
                "for what is read there often; look at them in the CloudWatch console. The local "
                "cloud shows them here."
            )
            parts.append(Html(tag("p", muted(words))))
        return Page(place, "Monitor", parts)

    def _test(self, place: Route) -> Page:
        return Page(place, "Test", [Tool("MQTT test client")])

    # --- things -------------------------------------------------------------------------------

    def _things(self, place: Route) -> Page:
        listed = self._account.things(_token(place))
        rows = [
            (
                Link(each["thingName"], Route("thing", each["thingName"])),
                escape(each.get("thingTypeName", "") or "no type"),
                escape(_pairs(each["attributes"])),
            )
            for each in listed.items
        ]
        return Page(
            place,
            "Things",
            [
                Rows(("Name", "Type", "Attributes"), rows, empty="There are no Things yet."),
                *_turning(place, listed),
                Form(
                    "Go to it",
                    [Field("Name of a Thing")],
                    lambda name: ("", Route("thing", name.strip())),
                    title="Find a Thing",
                ),
                Form(
                    "Create Thing",
                    [
                        Field("Name", hint="Test2"),
                        Field("Attributes", hint="name=value, one a line", rows=2),
                    ],
                    self._create_thing,
                    title="Create a Thing",
                ),
            ],
        )

    def _create_thing(self, name: str, attributes: str) -> Done:
        name = name.strip()
        self._account.create_thing(name, _read_pairs(attributes))
        words = f"Thing {name} is made. What it lacks is a certificate: see Security."
        return words, Route("thing", name)

    def _thing(self, place: Route) -> Page:
        name, tab = place.name, place.tab or TABS[0]
        thing = self._account.thing(name)
        tabs = [Link(each, Route("thing", name, each), each == tab) for each in TABS]
        made = {
            "Details": self._details,
            "Security": self._security,
            "Shadow": self._shadow,
            "Activity": self._activity,
            "Interact": self._interact,
        }[tab](name, thing)
        return Page(place, f"Thing {name}", [ActionRow([Link("All Things", THINGS), *tabs]), *made])

    def _details(self, name: str, thing: dict[str, Any]) -> list[Element]:
        attributes = thing["attributes"]
        return [
            Rows(
                ("", ""),
                [
                    ("Name", code(name)),
                    ("ARN", code(thing["thingArn"])),
                    ("Type", escape(thing.get("thingTypeName") or "none")),
                    ("Version", escape(thing["version"])),
                ],
            ),
            Rows(
                ("Attribute", "Value"),
                [(code(key), code(value)) for key, value in sorted(attributes.items())],
                caption="Attributes",
                empty="It has no attributes.",
            ),
            Form(
                "Save attributes",
                [Field("Attributes", _pairs(attributes, "\n"), "name=value, one a line", rows=3)],
                lambda text: self._set_attributes(name, text),
            ),
            ActionRow(
                [Action("Delete Thing", lambda: self._delete_thing(name), f"Delete {name}?")]
            ),
        ]

    def _set_attributes(self, name: str, text: str) -> Done:
        self._account.set_attributes(name, _read_pairs(text))
        return f"The attributes of {name} are saved.", None

    def _delete_thing(self, name: str) -> Done:
        self._account.delete_thing(name)
        return f"Thing {name} is deleted.", THINGS

    def _security(self, name: str, _: dict[str, Any]) -> list[Element]:
        rows = [
            (
                _certificate_link(each["certificateId"]),
                _status(each["status"]),
                Action("Detach", partial(self._detach_from_thing, name, each["certificateId"])),
            )
            for each in self._account.certificates_of(name)
        ]
        return [
            Rows(
                ("Certificate", "Status", ""),
                rows,
                caption="Certificates attached to this Thing",
                empty="No certificate is attached: nobody can connect as this Thing.",
            ),
            ActionRow([Action("Create certificate", lambda: self._create_certificate(name))]),
            Form(
                "Attach",
                [self._certificate_field()],
                lambda number: self._attach_to_thing(name, number),
                title="Attach a certificate that there is already",
            ),
        ]

    def _create_certificate(self, thing: str) -> Done:
        number = self._account.create_certificate(thing)
        words = (
            f"Certificate {number[:12]}... is made, active, and attached to {thing}; its key is "
            "saved where lab.connect finds it. What it lacks is a policy."
        )
        return words, Route("certificate", number)

    def _attach_to_thing(self, thing: str, certificate: str) -> Done:
        self._account.attach_to_thing(thing.strip(), certificate)
        return f"The certificate is attached to {thing.strip()}.", None

    def _detach_from_thing(self, thing: str, certificate: str) -> Done:
        self._account.detach_from_thing(thing, certificate)
        return f"The certificate is detached from {thing}.", None

    def _shadow(self, name: str, _: dict[str, Any]) -> list[Element]:
        shadows = self._account.shadows_of(name)
        if not shadows:
            words = "It has no shadow yet. A shadow is made by its first update: see Interact."
            return [Html(tag("p", muted(words)))]
        parts: list[Element] = []
        for shadow, document in shadows.items():
            title = f"Shadow {shadow!r}" if shadow else "Classic shadow"
            head = heading(f"{title}, version {document['version']}", 4)
            state = block(pretty(document["state"]))
            parts.append(Html(head + state))
        return parts

    def _activity(self, name: str, _: dict[str, Any]) -> list[Element]:
        if not self._account.local:
            words = (
                "AWS keeps no record of what a Thing did. Its lifecycle events come on "
                f"$aws/events/presence/+/{name}, to whoever subscribes."
            )
            return [Html(tag("p", muted(words)))]
        tape = self._account.activity_of(name)
        rows = [
            (
                VolatileCell(escape(row["time"].strftime("%H:%M:%S"))),
                escape(row["kind"]),
                code(_first(row, "topic", "filter", "resource", "verb")),
                mark("refused", "bad") + " " + escape(row["refusal"])
                if isinstance(row["refusal"], str)
                else "",
            )
            for row in tape.to_dict("records")
        ]
        return [
            Rows(
                ("Time (UTC)", "What", "On", ""),
                rows,
                caption="The last that this Thing did or got, and what happened to its shadow",
                empty="Nothing happened yet.",
            )
        ]

    def _interact(self, name: str, _: dict[str, Any]) -> list[Element]:
        prefix = f"$aws/things/{name}/shadow/"
        rest = f"https://{self._account.endpoint}/things/{name}/shadow"
        words = "For a named shadow, write name/ and its name after shadow/ in each topic."
        return [
            Html(tag("p", "Update the shadow over HTTPS: ", code(rest))),
            Rows(
                ("Topic", "What it is for"),
                [(code(prefix + end), escape(words)) for end, words in _WORDS.items()],
                caption="Topics of the classic shadow",
            ),
            Html(tag("p", muted(words))),
        ]

    # --- certificates -------------------------------------------------------------------------

    def _certificates(self, place: Route) -> Page:
        listed = self._account.certificates(_token(place))
        rows = [
            (
                _certificate_link(each["certificateId"]),
                _status(each["status"]),
                VolatileCell(escape(_day(each["creationDate"]))),
            )
            for each in listed.items
        ]
        return Page(
            place,
            "Certificates",
            [
                Rows(
                    ("Certificate", "Status", "Made"), rows, empty="There are no certificates yet."
                ),
                *_turning(place, listed),
                Form(
                    "Create certificate",
                    [Field("For the Thing", hint="Test2")],
                    lambda name: self._create_certificate(name.strip()),
                    title="Create a certificate",
                ),
            ],
        )

    def _certificate(self, place: Route) -> Page:
        number = place.name
        found = self._account.certificate(number)
        arn, status = found["certificateArn"], found["status"]
        things, policies = self._account.things_of(arn), self._account.policies_of(arn)
        validity = found.get("validity", {})
        deeds = [
            Action(label, partial(self._set_status, number, to), sure)
            for label, to, sure in (
                ("Activate", "ACTIVE", ""),
                ("Deactivate", "INACTIVE", ""),
                ("Revoke", "REVOKED", "Revoke it? There is no way back."),
            )
            if to != status
        ]
        deeds.append(
            Action("Delete", lambda: self._delete_certificate(number), "Delete this certificate?")
        )
        return Page(
            place,
            f"Certificate {number}",
            [
                ActionRow([Link("All certificates", CERTIFICATES), *deeds]),
                Rows(
                    ("", ""),
                    [
                        ("Id", code(number)),
                        ("ARN", code(arn)),
                        ("Status", _status(status)),
                        ("Made", VolatileCell(escape(_day(found["creationDate"])))),
                        ("Valid until", VolatileCell(escape(_day(validity.get("notAfter"))))),
                    ],
                ),
                Rows(
                    ("Policy", ""),
                    [
                        (
                            Link(name, Route("policy", name)),
                            Action("Detach", partial(self._detach_policy, name, arn)),
                        )
                        for name in policies
                    ],
                    caption="Policies attached to it",
                    empty="No policy is attached: it may do nothing at all.",
                ),
                Form(
                    "Attach policy",
                    [self._policy_field(policies)],
                    lambda name: self._attach_policy(name, number),
                ),
                Rows(
                    ("Thing", ""),
                    [
                        (
                            Link(name, Route("thing", name)),
                            Action("Detach", partial(self._detach_from_thing, name, number)),
                        )
                        for name in things
                    ],
                    caption="Things it is attached to",
                    empty="It is attached to no Thing.",
                ),
                Form(
                    "Attach to Thing",
                    [Field("Thing", hint="Test2")],
                    lambda name: self._attach_to_thing(name, number),
                ),
            ],
        )

    def _set_status(self, certificate: str, status: str) -> Done:
        self._account.set_status(certificate, status)
        return f"The certificate is {status} now.", None

    def _delete_certificate(self, certificate: str) -> Done:
        self._account.delete_certificate(certificate)
        return f"Certificate {certificate[:12]}... is deleted.", CERTIFICATES

    def _attach_policy(self, policy: str, certificate: str) -> Done:
        if not policy:
            raise ValueError("There is no other policy to attach. Create one under Policies.")
        self._account.attach_policy(policy, certificate)
        return f"Policy {policy} is attached to the certificate.", None

    def _detach_policy(self, policy: str, target: str) -> Done:
        self._account.detach_policy(policy, target)
        return f"Policy {policy} is detached.", None

    def _certificate_field(self) -> Field:
        listed = self._account.certificates(size=CHOICES)
        if listed.following:
            return Field("Certificate", hint=f"its id; there are more than {CHOICES}")
        choices = [
            (f"{each['certificateId'][:12]}… {each['status']}", each["certificateId"])
            for each in listed.items
        ]
        return Field("Certificate", options=choices)

    def _policy_field(self, without: Sequence[str]) -> Field:
        listed = self._account.policies(size=CHOICES)
        if listed.following:
            return Field("Policy", hint=f"its name; there are more than {CHOICES}")
        names = [each["policyName"] for each in listed.items]
        return Field("Policy", options=[(name, name) for name in names if name not in without])

    # --- policies -----------------------------------------------------------------------------

    def _policies(self, place: Route) -> Page:
        listed = self._account.policies(_token(place))
        rows = [
            (
                Link(each["policyName"], Route("policy", each["policyName"])),
                code(each["policyArn"]),
            )
            for each in listed.items
        ]
        return Page(
            place,
            "Policies",
            [
                Rows(("Name", "ARN"), rows, empty="There are no policies yet."),
                *_turning(place, listed),
                Form(
                    "Create policy",
                    [
                        Field("Name", hint="Test2Policy"),
                        Field("Document", NEW_DOCUMENT % self._account.prefix, rows=10),
                    ],
                    self._create_policy,
                    title="Create a policy",
                ),
            ],
        )

    def _create_policy(self, name: str, document: str) -> Done:
        name = name.strip()
        self._account.create_policy(name, document)
        words = f"Policy {name} is made. It acts when it is attached to a certificate."
        return words, Route("policy", name)

    def _policy(self, place: Route) -> Page:
        name, shown = place.name, place.tab
        policy = self._account.policy(name)
        default = policy["defaultVersionId"]
        shown = shown or default
        document = pretty(json.loads(self._account.version(name, shown)))
        return Page(
            place,
            f"Policy {name}",
            [
                ActionRow(
                    [
                        Link("All policies", POLICIES),
                        Action(
                            "Delete policy", lambda: self._delete_policy(name), f"Delete {name}?"
                        ),
                    ]
                ),
                Html(tag("p", code(policy["policyArn"]))),
                Html(heading(f"Document, version {shown}", 4) + block(document, 10_000)),
                Rows(
                    ("Version", "", "", ""),
                    [
                        self._version_row(name, each["versionId"], default, shown)
                        for each in self._account.versions_of(name)
                    ],
                    caption="Versions: the default is the one that counts",
                ),
                Rows(
                    ("Attached to", ""),
                    [
                        (
                            _target_link(arn),
                            Action("Detach", partial(self._detach_policy, name, arn)),
                        )
                        for arn in self._account.targets_of(name)
                    ],
                    caption="What it is attached to",
                    empty="It is attached to nothing, and so it does nothing.",
                ),
                Form(
                    "Save as a new version, the default",
                    [Field("Document", document, rows=10)],
                    lambda text: self._create_version(name, text),
                    title="Change it: a policy is not edited in place, it gets a new version",
                ),
            ],
        )

    def _version_row(
        self, name: str, version: str, default: str, shown: str
    ) -> tuple[str | Link | Action, ...]:
        words = f"Version {version}" + (" (shown)" if version == shown else "")
        first = Link(words, Route("policy", name, version), version == shown)
        if version == default:
            return (first, mark("default", "good"), "", "")
        return (
            first,
            "",
            Action("Make it the default", partial(self._set_default, name, version)),
            Action("Delete version", partial(self._delete_version, name, version)),
        )

    def _create_version(self, name: str, document: str) -> Done:
        fault = fault_of(document)
        if fault is not None and fault.line is not None:
            # AWS says no more than "malformed"; where is known here.
            raise ValueError(f"{fault.message} Line {fault.line}: {fault.text.strip()}")
        version = self._account.create_version(name, document)
        return f"Version {version} of {name} is made, and is the default.", Route("policy", name)

    def _set_default(self, name: str, version: str) -> Done:
        self._account.set_default(name, version)
        return f"Version {version} of {name} is the default now.", Route("policy", name)

    def _delete_version(self, name: str, version: str) -> Done:
        self._account.delete_version(name, version)
        return f"Version {version} of {name} is deleted.", Route("policy", name)

    def _delete_policy(self, name: str) -> Done:
        self._account.delete_policy(name)
        return f"Policy {name} is deleted.", POLICIES


# --- small things -------------------------------------------------------------------------------


def _token(place: Route) -> str | None:
    return place.tokens[-1] if place.tokens else None


def _turning(place: Route, listed: Listed) -> list[Element]:
    """Return the links to the pages before and after this one of a long list."""
    links = []
    if place.tokens:
        links.append(Link("Previous page", place._replace(tokens=place.tokens[:-1])))
    if listed.following:
        following = place._replace(tokens=(*place.tokens, listed.following))
        links.append(Link("Next page", following))
    return [ActionRow(links, f"Page {len(place.tokens) + 1}")] if links else []


def _certificate_link(number: str) -> Link:
    return Link(f"{number[:12]}…", Route("certificate", number), whole=number)


def _target_link(arn: str) -> str | Link:
    kind, _, name = arn.split(":", 5)[-1].partition("/")
    if kind != "cert":
        return code(f"{kind} {name}")
    whole = f"Certificate {name}"
    return Link(f"Certificate {name[:12]}…", Route("certificate", name), whole=whole)


def _status(status: str) -> str:
    return mark(status, _STATUS.get(status, "plain"))


def _pairs(attributes: dict[str, str], between: str = ", ") -> str:
    return between.join(f"{key}={value}" for key, value in sorted(attributes.items()))


def _read_pairs(text: str) -> dict[str, str]:
    """Read ``name=value`` lines.

    Raises
    ------
    ValueError
        If a line is none; the message shows it.
    """
    found = {}
    for line in filter(None, map(str.strip, text.split("\n"))):
        key, sign, value = line.partition("=")
        if not sign:
            raise ValueError(f"{line!r} is no attribute; one looks like name=value.")
        found[key.strip()] = value.strip()
    return found


def _day(at: Any) -> str:
    if not isinstance(at, datetime):
        return "not known"
    return at.astimezone(UTC).strftime("%Y-%m-%d")


def _first(row: Mapping[Any, Any], *names: str) -> str:
    """Return the first of a row's members that has a value."""
    return next((row[name] for name in names if isinstance(row.get(name), str)), "")
