"""The pages of the console, each built from the account's state when it is opened.

One function builds each page from the answers of `console_client.py`, with the elements of
`console_elements.py`. Order and names are those of the AWS console in the tutorial.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from creeklab.client.topics import shadow_topic
from creeklab.display.html import block, code, escape, heading, mark, muted, pretty, tag
from creeklab.widgets.console_client import MAX_CHOICES, MAX_COUNTED, ConsoleClient, ListPage
from creeklab.widgets.console_elements import (
    Action,
    Cell,
    Done,
    Element,
    Field,
    Form,
    Link,
    Page,
    Route,
    Table,
    VolatileHtml,
)
from creeklab.widgets.live_view import name_value_pairs
from creeklab.widgets.policy_model import NEW_DOCUMENT, find_fault, save

SECTIONS = ("Monitor", "Things", "Certificates", "Policies", "Test")
TABS = ("Details", "Security", "Shadow", "Activity", "Interact")

THINGS, CERTIFICATES, POLICIES = Route("things"), Route("certificates"), Route("policies")

_STATUS_KINDS = {"ACTIVE": "good", "REVOKED": "bad"}
_SHADOW_TOPICS = {
    "update": "publish here to update the shadow",
    "update/accepted": "the update was accepted",
    "update/rejected": "the update was rejected, with the reason",
    "update/delta": "desired and reported differ",
    "update/documents": "the whole document before and after an update",
    "get": "publish here to get the shadow",
    "get/accepted": "the shadow you asked for",
    "get/rejected": "there is no shadow, or the request was rejected",
    "delete": "publish here to delete the shadow",
    "delete/accepted": "the shadow was deleted",
    "delete/rejected": "the shadow was not deleted",
}


class ConsolePages:
    """Builds the pages of one account."""

    def __init__(self, account: ConsoleClient) -> None:
        self._account = account
        self._iot = account.iot
        self._builders: dict[str, Callable[[Route], Page]] = {
            "monitor": self._monitor,
            "things": self._things,
            "thing": self._thing,
            "certificates": self._certificates,
            "certificate": self._certificate,
            "policies": self._policies,
            "policy": self._policy,
            "test": lambda route: Page(route, "Test", tool="MQTT test client"),
        }

    def build(self, route: Route) -> Page:
        """Return the page at a route; raise AWS's error if its resource does not exist."""
        return self._builders[route.page](route)

    def _call(self, operation: str, message: str, to: Route | None = None, **members: Any) -> Done:
        getattr(self._iot, operation)(**members)
        return message, to

    def _action(
        self,
        label: str,
        operation: str,
        message: str,
        to: Route | None = None,
        *,
        confirm: str = "",
        **members: str,
    ) -> Action:
        """Return a button that makes one call to AWS IoT."""
        return Action(label, lambda: self._call(operation, message, to, **members), confirm)

    # --- monitor ------------------------------------------------------------------------------

    def _monitor(self, route: Route) -> Page:
        counts = ", ".join(f"{name}: {count}" for name, count in self._account.counts().items())
        elements = [tag("p", escape(f"{counts}."))]
        if self._account.local:
            return Page(route, "Monitor", elements, "monitor")
        text = (
            "AWS counts connections and messages in CloudWatch (namespace AWS/IoT) and charges for "
            "frequent reads, so look at them in the CloudWatch console. With the local cloud, this "
            "page shows them."
        )
        return Page(route, "Monitor", [*elements, tag("p", muted(text))])

    # --- things -------------------------------------------------------------------------------

    def _things(self, route: Route) -> Page:
        listed = self._account.things(_token(route))
        rows = [
            (
                Link(each["thingName"], Route("thing", each["thingName"])),
                escape(each.get("thingTypeName", "") or "no type"),
                escape(_pairs(each["attributes"])),
            )
            for each in listed.items
        ]
        find = Form(
            "Open",
            [Field("Thing name")],
            lambda name: ("", Route("thing", name.strip())),
            title="Find a Thing",
        )
        create = Form(
            "Create Thing",
            [
                Field("Name", hint="Test2"),
                Field("Attributes", hint="name=value, one per line", rows=2),
            ],
            self._create_thing,
            title="Create a Thing",
        )
        things = Table(("Name", "Type", "Attributes"), rows, empty="There are no Things yet.")
        return Page(route, "Things", [things, *_pagination(route, listed), find, create])

    def _create_thing(self, name: str, attributes: str) -> Done:
        name = name.strip()
        payload = {"attributes": dict(name_value_pairs(attributes))}
        message = f"Created Thing {name}. Next, it needs a certificate: see Security."
        to = Route("thing", name)
        return self._call("create_thing", message, to, thingName=name, attributePayload=payload)

    def _thing(self, route: Route) -> Page:
        name, tab = route.name, route.tab or TABS[0]
        thing = self._iot.describe_thing(thingName=name)
        tabs: list[Cell] = [Link(each, Route("thing", name, each), each == tab) for each in TABS]
        build = {
            "Details": self._details,
            "Security": self._security,
            "Shadow": self._shadow,
            "Activity": self._activity,
            "Interact": self._interact,
        }[tab]
        head = [Link("All Things", THINGS), *tabs]
        return Page(route, f"Thing {name}", [head, *build(name, thing)])

    def _details(self, name: str, thing: dict[str, Any]) -> list[Element]:
        attributes = thing["attributes"]
        return [
            Table(
                ("", ""),
                [
                    ("Name", code(name)),
                    ("ARN", code(thing["thingArn"])),
                    ("Type", escape(thing.get("thingTypeName") or "none")),
                    ("Version", escape(thing["version"])),
                ],
            ),
            Table(
                ("Attribute", "Value"),
                [(code(key), code(value)) for key, value in sorted(attributes.items())],
                caption="Attributes",
                empty="This Thing has no attributes.",
            ),
            Form(
                "Save attributes",
                [Field("Attributes", _pairs(attributes, "\n"), "name=value, one per line", rows=3)],
                lambda text: self._set_attributes(name, text),
            ),
            [
                self._action(
                    "Delete Thing",
                    "delete_thing",
                    f"Deleted Thing {name}.",
                    THINGS,
                    confirm=f"Delete {name}?",
                    thingName=name,
                )
            ],
        ]

    def _set_attributes(self, name: str, text: str) -> Done:
        payload = {"attributes": dict(name_value_pairs(text)), "merge": False}
        message = f"Saved the attributes of {name}."
        return self._call("update_thing", message, thingName=name, attributePayload=payload)

    def _security(self, name: str, _: dict[str, Any]) -> list[Element]:
        rows = [
            (
                _certificate_link(each["certificateId"]),
                _status(each["status"]),
                self._detach_thing(name, each["certificateArn"]),
            )
            for each in self._account.certificates_of(name)
        ]
        return [
            Table(
                ("Certificate", "Status", ""),
                rows,
                caption="Certificates attached to this Thing",
                empty="No certificate is attached, so no device can connect as this Thing.",
            ),
            [Action("Create certificate", lambda: self._create_certificate(name))],
            Form(
                "Attach",
                [self._certificate_field()],
                lambda certificate: self._attach_thing(name, certificate),
                title="Attach an existing certificate",
            ),
        ]

    def _create_certificate(self, thing: str) -> Done:
        certificate = self._account.create_certificate(thing)
        message = (
            f"Created certificate {certificate[:12]}..., activated it, and attached it to {thing}. "
            "Its key is saved where lab.connect finds it. Next, it needs a policy."
        )
        return message, Route("certificate", certificate)

    def _attach_thing(self, thing: str, certificate: str) -> Done:
        thing, arn = thing.strip(), self._account.arn(certificate)
        message = f"Attached the certificate to {thing}."
        return self._call("attach_thing_principal", message, thingName=thing, principal=arn)

    def _detach_thing(self, thing: str, arn: str) -> Action:
        message = f"Detached the certificate from {thing}."
        return self._action(
            "Detach", "detach_thing_principal", message, thingName=thing, principal=arn
        )

    def _shadow(self, name: str, _: dict[str, Any]) -> list[Element]:
        shadows = self._account.shadows_of(name)
        if not shadows:
            text = "This Thing has no shadow yet. The first update creates it: see Interact."
            return [tag("p", muted(text))]
        elements: list[Element] = []
        for shadow, document in shadows.items():
            title = f"Shadow {shadow!r}" if shadow else "Classic shadow"
            head = heading(f"{title}, version {document['version']}", 4)
            elements.append(head + block(pretty(document["state"])))
        return elements

    def _activity(self, name: str, _: dict[str, Any]) -> list[Element]:
        if not self._account.local:
            text = (
                "AWS keeps no log of what a Thing did. Subscribe to "
                f"$aws/events/presence/+/{name} for its lifecycle events."
            )
            return [tag("p", muted(text))]
        rows = [
            (
                VolatileHtml(escape(row["time"].strftime("%H:%M:%S"))),
                escape(row["kind"]),
                code(_first(row, "topic", "filter", "resource", "request")),
                mark("refused", "bad") + " " + escape(row["refusal"])
                if isinstance(row["refusal"], str)
                else "",
            )
            for row in self._account.activity_of(name).to_dict("records")
        ]
        return [
            Table(
                ("Time (UTC)", "Event", "Topic or resource", ""),
                rows,
                caption="Latest events of this Thing and its shadow",
                empty="There are no events yet.",
            )
        ]

    def _interact(self, name: str, _: dict[str, Any]) -> list[Element]:
        url = f"https://{self._account.endpoint}/things/{name}/shadow"
        rows = [
            (code(shadow_topic(name, operation)), escape(purpose))
            for operation, purpose in _SHADOW_TOPICS.items()
        ]
        named = "For a named shadow, insert name/, its name, and a slash after shadow/."
        return [
            tag("p", "Update the shadow over HTTPS: ", code(url)),
            Table(("Topic", "Purpose"), rows, caption="Topics of the classic shadow"),
            tag("p", muted(named)),
        ]

    # --- certificates -------------------------------------------------------------------------

    def _certificates(self, route: Route) -> Page:
        listed = self._account.certificates(_token(route))
        rows = [
            (
                _certificate_link(each["certificateId"]),
                _status(each["status"]),
                VolatileHtml(_day(each["creationDate"])),
            )
            for each in listed.items
        ]
        table = Table(
            ("Certificate", "Status", "Created"), rows, empty="There are no certificates yet."
        )
        create = Form(
            "Create certificate",
            [Field("For Thing", hint="Test2")],
            lambda name: self._create_certificate(name.strip()),
            title="Create a certificate",
        )
        return Page(route, "Certificates", [table, *_pagination(route, listed), create])

    def _certificate(self, route: Route) -> Page:
        certificate = route.name
        found = self._account.certificate(certificate)
        arn, status = found["certificateArn"], found["status"]
        things = self._iot.list_principal_things(principal=arn)["things"]
        attached = self._iot.list_attached_policies(target=arn)["policies"]
        policies = [each["policyName"] for each in attached]
        actions = [
            self._action(
                label,
                "update_certificate",
                f"The certificate is now {new_status}.",
                confirm=confirm,
                certificateId=certificate,
                newStatus=new_status,
            )
            for label, new_status, confirm in (
                ("Activate", "ACTIVE", ""),
                ("Deactivate", "INACTIVE", ""),
                ("Revoke", "REVOKED", "Revoke it? This cannot be undone."),
            )
            if new_status != status
        ]
        delete = self._action(
            "Delete",
            "delete_certificate",
            "Deleted the certificate.",
            CERTIFICATES,
            confirm="Delete this certificate?",
            certificateId=certificate,
        )
        return Page(
            route,
            f"Certificate {certificate}",
            [
                [Link("All certificates", CERTIFICATES), *actions, delete],
                Table(
                    ("", ""),
                    [
                        ("ID", code(certificate)),
                        ("ARN", code(arn)),
                        ("Status", _status(status)),
                        ("Created", VolatileHtml(_day(found["creationDate"]))),
                        (
                            "Valid until",
                            VolatileHtml(_day(found.get("validity", {}).get("notAfter"))),
                        ),
                    ],
                ),
                Table(
                    ("Policy", ""),
                    [
                        (Link(name, Route("policy", name)), self._detach_policy(name, arn))
                        for name in policies
                    ],
                    caption="Attached policies",
                    empty="No policy is attached, so it is not allowed to do anything.",
                ),
                Form(
                    "Attach policy",
                    [self._policy_field(policies)],
                    lambda name: self._attach_policy(name, arn),
                ),
                Table(
                    ("Thing", ""),
                    [
                        (Link(name, Route("thing", name)), self._detach_thing(name, arn))
                        for name in things
                    ],
                    caption="Attached to these Things",
                    empty="It is not attached to a Thing.",
                ),
                Form(
                    "Attach to Thing",
                    [Field("Thing", hint="Test2")],
                    lambda name: self._attach_thing(name, certificate),
                ),
            ],
        )

    def _attach_policy(self, policy: str, arn: str) -> Done:
        if not policy:
            raise ValueError("There is no other policy to attach. Create one under Policies.")
        message = f"Attached policy {policy} to the certificate."
        return self._call("attach_policy", message, policyName=policy, target=arn)

    def _detach_policy(self, policy: str, target: str) -> Action:
        message = f"Detached policy {policy}."
        return self._action("Detach", "detach_policy", message, policyName=policy, target=target)

    def _certificate_field(self) -> Field:
        listed = self._account.certificates(size=MAX_CHOICES)
        if listed.next_token:
            return Field("Certificate", hint="certificate ID (there are too many to list)")
        options = [
            (f"{each['certificateId'][:12]}… {each['status']}", each["certificateId"])
            for each in listed.items
        ]
        return Field("Certificate", options=options)

    def _policy_field(self, attached: Sequence[str]) -> Field:
        listed = self._account.policies(size=MAX_CHOICES)
        if listed.next_token:
            return Field("Policy", hint="policy name (there are too many to list)")
        names = [each["policyName"] for each in listed.items]
        return Field("Policy", options=[(name, name) for name in names if name not in attached])

    # --- policies -----------------------------------------------------------------------------

    def _policies(self, route: Route) -> Page:
        listed = self._account.policies(_token(route))
        rows = [
            (Link(each["policyName"], Route("policy", each["policyName"])), code(each["policyArn"]))
            for each in listed.items
        ]
        create = Form(
            "Create policy",
            [
                Field("Name", hint="Test2Policy"),
                Field("Document", NEW_DOCUMENT % self._account.prefix, rows=10),
            ],
            self._create_policy,
            title="Create a policy",
        )
        policies = Table(("Name", "ARN"), rows, empty="There are no policies yet.")
        return Page(route, "Policies", [policies, *_pagination(route, listed), create])

    def _create_policy(self, name: str, document: str) -> Done:
        name = name.strip()
        return save(self._iot, name, document, exists=False), Route("policy", name)

    def _policy(self, route: Route) -> Page:
        name = route.name
        policy = self._iot.get_policy(policyName=name)
        default = policy["defaultVersionId"]
        shown = route.tab or default
        version = self._iot.get_policy_version(policyName=name, policyVersionId=shown)
        document = pretty(json.loads(version["policyDocument"]))
        targets = self._iot.list_targets_for_policy(policyName=name, pageSize=MAX_COUNTED)
        delete = self._action(
            "Delete policy",
            "delete_policy",
            f"Deleted policy {name}.",
            POLICIES,
            confirm=f"Delete {name}?",
            policyName=name,
        )
        return Page(
            route,
            f"Policy {name}",
            [
                [Link("All policies", POLICIES), delete],
                tag("p", code(policy["policyArn"])),
                heading(f"Document, version {shown}", 4) + block(document, 10_000),
                Table(
                    ("Version", "", "", ""),
                    [
                        self._version_row(name, each["versionId"], default, shown)
                        for each in self._account.versions_of(name)
                    ],
                    caption="Versions (the default version is in effect)",
                ),
                Table(
                    ("Attached to", ""),
                    [
                        (_target_link(arn), self._detach_policy(name, arn))
                        for arn in targets["targets"]
                    ],
                    caption="Attached to",
                    empty="It is not attached to anything, so it has no effect.",
                ),
                Form(
                    "Save as new default version",
                    [Field("Document", document, rows=10)],
                    lambda text: self._create_version(name, text),
                    title="Edit (saving creates a new version)",
                ),
            ],
        )

    def _version_row(self, name: str, version: str, default: str, shown: str) -> tuple[Cell, ...]:
        label = f"Version {version}" + (" (shown)" if version == shown else "")
        link = Link(label, Route("policy", name, version), version == shown)
        if version == default:
            return (link, mark("default", "good"), "", "")
        members = {"policyName": name, "policyVersionId": version}
        to = Route("policy", name)
        make_default = f"Version {version} is now the default of {name}."
        delete = f"Deleted version {version} of {name}."
        return (
            link,
            "",
            self._action("Make default", "set_default_policy_version", make_default, to, **members),
            self._action("Delete version", "delete_policy_version", delete, to, **members),
        )

    def _create_version(self, name: str, document: str) -> Done:
        fault = find_fault(document)
        if fault is not None and fault.line is not None:
            # AWS says only "malformed".
            raise ValueError(f"{fault.message} Line {fault.line}: {fault.text.strip()}")
        return save(self._iot, name, document, exists=True), Route("policy", name)


def _token(route: Route) -> str | None:
    return route.tokens[-1] if route.tokens else None


def _pagination(route: Route, listed: ListPage) -> list[Element]:
    """Return the links to the previous and the next page of a long list."""
    links: list[Cell] = []
    if route.tokens:
        links.append(Link("Previous page", route._replace(tokens=route.tokens[:-1])))
    if listed.next_token:
        next_route = route._replace(tokens=(*route.tokens, listed.next_token))
        links.append(Link("Next page", next_route))
    return [[muted(f"Page {len(route.tokens) + 1}"), *links]] if links else []


def _certificate_link(certificate: str, label: str = "") -> Link:
    full = f"{label}{certificate}"
    return Link(f"{label}{certificate[:12]}…", Route("certificate", certificate), full=full)


def _target_link(arn: str) -> str | Link:
    kind, _, name = arn.split(":", 5)[-1].partition("/")
    return _certificate_link(name, "Certificate ") if kind == "cert" else code(f"{kind} {name}")


def _status(status: str) -> str:
    return mark(status, _STATUS_KINDS.get(status, "plain"))


def _pairs(attributes: dict[str, str], between: str = ", ") -> str:
    return between.join(f"{key}={value}" for key, value in sorted(attributes.items()))


def _day(at: Any) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d") if isinstance(at, datetime) else "unknown"


def _first(row: Mapping[Any, Any], *names: str) -> str:
    """Return the first of a row's members that has a value."""
    return next((row[name] for name in names if isinstance(row.get(name), str)), "")
