"""The console: its pages, what is done there, AWS's guards, the way from one to the other."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest
from botocore.exceptions import ClientError
from ipywidgets import HTML, Button, Dropdown, Text, Textarea

from creeklab import Lab, open_lab
from creeklab.widgets import console_monitor as monitor
from creeklab.widgets import console_pages
from creeklab.widgets.console import Console
from creeklab.widgets.console_elements import Route
from creeklab.widgets.console_pages import TABS

ALLOW = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}],
    }
)


@pytest.fixture
def console(lab: Lab) -> Iterator[Console]:
    with lab.console() as view:
        view.settle()
        yield view


def parts(widget: Any) -> Iterator[Any]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from parts(child)


def buttons(console: Console) -> list[str]:
    return [each.description for each in parts(console._body) if isinstance(each, Button)]


def click(console: Console, words: str, nth: int = 0) -> None:
    """Click a button of the page, or of the line of sections above it."""
    console.settle()
    found = [
        each
        for each in (*parts(console._body), *console._sections.values())
        if isinstance(each, Button) and each.description == words
    ]
    assert found, f"{words!r} is none of {buttons(console)}"
    found[nth].click()
    console.settle()


def fill(console: Console, label: str, value: str) -> None:
    console.settle()
    kinds = (Text, Textarea, Dropdown)
    fields = [
        each
        for each in parts(console._body)
        if isinstance(each, kinds) and each.description == label
    ]
    assert fields, label
    fields[-1].value = value


def shown(console: Console) -> str:
    console.settle()
    words = [each.value for each in parts(console.widget) if isinstance(each, HTML)]
    return " ".join([*words, *buttons(console)])


def notice(console: Console) -> str:
    console.settle()
    return str(console._notice.value)


def static(console: Console) -> str:
    return str(console._repr_mimebundle_()["text/html"])


# --- the tutorial, by clicks ----------------------------------------------------------------------


def test_the_tutorial_by_clicks(home: Any) -> None:
    """An empty account, a Thing, a certificate, a policy; and then the device connects."""
    lab = open_lab(home=home)
    with lab.console() as console:
        assert "Things: 0, Certificates: 0, Policies: 0." in shown(console)
        click(console, "Things")
        assert "There are no Things yet" in shown(console)
        fill(console, "Name", "Test2")
        fill(console, "Attributes", "site=elkhorn")
        click(console, "Create Thing")
        assert console.page.place == Route("thing", "Test2")
        assert "Thing Test2 is made" in notice(console)
        click(console, "Security")
        assert "nobody can connect as this Thing" in shown(console)
        click(console, "Create certificate")
        assert console.page.place.page == "certificate"
        number = console.page.place.name
        assert lab.keys.files("Test2").certificate_id == number
        assert "it may do nothing at all" in shown(console)
        click(console, "Policies")
        fill(console, "Name", "Test2Policy")
        fill(console, "Document", ALLOW)
        click(console, "Create policy")
        assert console.page.place == Route("policy", "Test2Policy")
        assert "it does nothing" in shown(console)
        click(console, "Certificates")
        click(console, f"{number[:12]}…")
        fill(console, "Policy", "Test2Policy")
        click(console, "Attach policy")
        assert "Policy Test2Policy is attached" in notice(console)
        with lab.connect("Test2") as device:
            device.shadow.update(reported={"depth": 1.4})
        # And back along the links.
        click(console, "Test2Policy")
        click(console, f"Certificate {number[:12]}…")
        click(console, "Test2")
        click(console, "Shadow")
        assert "Classic shadow, version 1" in shown(console)
        assert "&quot;depth&quot;: 1.4" in shown(console)
        click(console, "Activity")
        assert "$aws/things/Test2/shadow/update" in shown(console)
        click(console, "Interact")
        page = shown(console)
        assert f"https://{lab.endpoint}:{lab.https_port}/things/Test2/shadow" in page
        assert "$aws/things/Test2/shadow/update/delta" in page
        click(console, "Details")
        assert "site" in shown(console)
        click(console, "Monitor")
        assert "Things: 1, Certificates: 1, Policies: 1." in shown(console)


# --- AWS's guards, and what cannot be undone ------------------------------------------------------


def test_what_aws_refuses_is_said_in_its_words(
    console: Console, new_thing: Callable[..., Any]
) -> None:
    thing = new_thing()
    console.go(Route("thing", thing.name))
    click(console, "Delete Thing")
    assert f"Delete {thing.name}? Yes" in buttons(console)
    click(console, f"Delete {thing.name}? Yes")
    assert "InvalidRequestException: Cannot delete" in notice(console)
    assert 'role="alert"' in notice(console)
    console.go(Route("policy", thing.policy))
    click(console, "Delete policy")
    click(console, f"Delete {thing.policy}? Yes")
    assert "DeleteConflictException" in notice(console)
    console.go(Route("certificate", thing.certificate_id))
    click(console, "Delete")
    click(console, "Delete this certificate? Yes")
    assert "CertificateStateException" in notice(console) or "Conflict" in notice(console)


def test_taking_it_all_down_by_clicks(
    console: Console, lab: Lab, new_thing: Callable[..., Any]
) -> None:
    thing = new_thing()
    console.go(Route("thing", thing.name, "Security"))
    click(console, "Detach")
    assert f"detached from {thing.name}" in notice(console)
    console.go(Route("policy", thing.policy))
    click(console, "Detach")
    click(console, "Delete policy")
    click(console, f"Delete {thing.policy}? Yes")
    assert console.page.place == Route("policies")
    console.go(Route("certificate", thing.certificate_id))
    assert "Activate" not in buttons(console)
    click(console, "Deactivate")
    assert "is INACTIVE now" in notice(console)
    assert "Deactivate" not in buttons(console)
    click(console, "Delete")
    click(console, "Delete this certificate? Yes")
    assert console.page.place == Route("certificates")
    console.go(Route("thing", thing.name))
    click(console, "Delete Thing")
    click(console, f"Delete {thing.name}? Yes")
    assert console.page.place == Route("things")
    with pytest.raises(ClientError):
        lab.client("iot").describe_thing(thingName=thing.name)


def test_revoking_is_asked_about(console: Console, lab: Lab, new_thing: Callable[..., Any]) -> None:
    thing = new_thing()
    iot = lab.client("iot")
    console.go(Route("certificate", thing.certificate_id))
    click(console, "Revoke")

    def status() -> str:
        found = iot.describe_certificate(certificateId=thing.certificate_id)
        return str(found["certificateDescription"]["status"])

    assert status() == "ACTIVE"
    click(console, "Revoke it? There is no way back. Yes")
    assert status() == "REVOKED"
    assert "REVOKED" in shown(console)


def test_versions_of_a_policy(console: Console, lab: Lab, new_thing: Callable[..., Any]) -> None:
    thing = new_thing()
    console.go(Route("policy", thing.policy))
    fill(console, "Document", '{\n  "Version": ')
    click(console, "Save as a new version, the default")
    assert "It is not JSON: line 2" in notice(console)
    fill(console, "Document", ALLOW.replace("iot:*", "iot:Connect"))
    click(console, "Save as a new version, the default")
    assert "Version 2" in notice(console)
    click(console, "Version 1")
    assert console.page.place == Route("policy", thing.policy, "1")
    assert "Document, version 1" in shown(console)
    click(console, "Make it the default")
    assert lab.client("iot").get_policy(policyName=thing.policy)["defaultVersionId"] == "1"
    click(console, "Delete version")
    versions = lab.client("iot").list_policy_versions(policyName=thing.policy)["policyVersions"]
    assert [each["versionId"] for each in versions] == ["1"]


def test_attributes_are_saved(console: Console, lab: Lab, new_thing: Callable[..., Any]) -> None:
    thing = new_thing()
    console.go(Route("thing", thing.name))
    fill(console, "Attributes", "site=elkhorn\nmodel = A1")
    click(console, "Save attributes")
    found = lab.client("iot").describe_thing(thingName=thing.name)["attributes"]
    assert found == {"site": "elkhorn", "model": "A1"}
    fill(console, "Attributes", "site")
    click(console, "Save attributes")
    assert "is no attribute; one looks like name=value" in notice(console)
    fill(console, "Attributes", "")
    click(console, "Save attributes")
    assert "It has no attributes" in shown(console)


def test_attaching_a_certificate_that_there_is(
    console: Console, lab: Lab, new_thing: Callable[..., Any]
) -> None:
    thing, other = new_thing(), new_thing()
    console.go(Route("thing", thing.name, "Security"))
    fill(console, "Certificate", other.certificate_id)
    click(console, "Attach")
    found = lab.client("iot").list_principal_things(principal=other.certificate_arn)["things"]
    assert set(found) == {thing.name, other.name}
    console.go(Route("certificate", thing.certificate_id))
    fill(console, "Thing", "no-such-thing")
    click(console, "Attach to Thing")
    assert "ResourceNotFoundException" in notice(console)


def test_a_thing_that_is_gone(console: Console) -> None:
    click(console, "Things")
    fill(console, "Name of a Thing", "no-such-thing")
    click(console, "Go to it")
    assert "ResourceNotFoundException" in notice(console)
    assert console.page.place == Route("things")


# --- many of them, and strange ones ---------------------------------------------------------------


def test_thousands_of_things_come_page_by_page(home: Any) -> None:
    lab = open_lab(home=home)
    iot = lab.client("iot")
    for number in range(60):
        iot.create_thing(thingName=f"gauge-{number:04}")
    with lab.console() as console:
        click(console, "Things")
        names = [each for each in buttons(console) if each.startswith("gauge-")]
        assert len(names) == 25
        assert "Previous page" not in buttons(console)
        click(console, "Next page")
        click(console, "Next page")
        last = [each for each in buttons(console) if each.startswith("gauge-")]
        assert len(last) == 10
        assert "Page 3" in shown(console)
        assert "Next page" not in buttons(console)
        click(console, "Previous page")
        click(console, "Previous page")
        assert [each for each in buttons(console) if each.startswith("gauge-")] == names
        fill(console, "Name of a Thing", "gauge-0059")
        click(console, "Go to it")
        assert console.page.place == Route("thing", "gauge-0059")


def test_what_comes_from_outside_is_escaped(
    console: Console, lab: Lab, new_thing: Callable[..., Any]
) -> None:
    thing = new_thing()
    with lab.connect(thing.name) as device:
        device.shadow.update(reported={"<img src=a>": "</pre><script>"})
        device.publish("creek/<img src=b>", "x")
    account = console._account
    real = account.thing

    def odd(name: str) -> dict[str, Any]:
        # No name or value of an attribute may have such characters on AWS today.
        return {**real(name), "attributes": {"<img src=c>": "<img src=d>"}}

    account.thing = odd  # type: ignore[method-assign]
    for tab in TABS:
        console.go(Route("thing", thing.name, tab))
        for page in (shown(console), static(console)):
            assert "<img" not in page, tab
            assert "<script>" not in page, tab


# --- where no kernel runs, and on AWS -------------------------------------------------------------


def test_each_page_has_a_static_form_that_does_not_change(
    console: Console, new_thing: Callable[..., Any]
) -> None:
    thing = new_thing()
    places = [
        *(Route("thing", thing.name, tab) for tab in TABS if tab != "Activity"),
        Route("certificate", thing.certificate_id),
        Route("policy", thing.policy),
        Route("monitor"),
        Route("test"),
    ]
    for place in places:
        console.go(place)
        first = static(console)
        console.refresh()
        assert static(console) == first
        assert "<input" not in first
        # A shortened id would differ from run to run where no one expects it.
        assert f"{thing.certificate_id[:12]}…" not in first
        assert "20" + "26-" not in first
        assert repr(console).count("\n") == 0
    console.go(Route("certificate", thing.certificate_id))
    assert thing.policy in static(console)
    assert "Revoke" not in static(console)


def test_on_aws_nothing_is_asked_but_boto3(lab: Lab, new_thing: Callable[..., Any]) -> None:
    class OnAws:
        target = "aws"
        account, region, endpoint, keys = lab.account, lab.region, lab.endpoint, lab.keys
        client = staticmethod(lab.client)

    thing = new_thing()
    aws: Any = OnAws()
    with Console(aws) as console:
        assert "CloudWatch" in shown(console)
        for section in ("Things", "Certificates", "Policies"):
            click(console, section)
            assert notice(console) == ""
        for tab in TABS:
            console.go(Route("thing", thing.name, tab))
            assert notice(console) == ""
        console.go(Route("thing", thing.name, "Activity"))
        assert f"$aws/events/presence/+/{thing.name}" in shown(console)


# --- the monitor ----------------------------------------------------------------------------------


NOW = pd.Timestamp("2026-11-26 12:00:30", tz="UTC")


def counted(*rows: tuple[int, str, str, int]) -> pd.DataFrame:
    """Make a table as `Lab.metrics` does, of minutes before now, names, protocols and sums."""
    frame = pd.DataFrame(rows, columns=["ago", "name", "protocol", "sum"])
    frame["minute"] = NOW.floor("min") - pd.to_timedelta(frame["ago"], unit="min")
    return frame.pivot_table(
        index="minute", columns=["name", "protocol"], values="sum", aggfunc="sum", fill_value=0
    )


def test_the_series_of_the_monitor() -> None:
    metrics = counted(
        (0, "PublishIn.Success", "MQTT", 3),
        (0, "PublishIn.Success", "HTTP", 2),
        (59, "PublishIn.Success", "MQTT", 7),
        (60, "PublishIn.Success", "MQTT", 100),
        (1, "PublishIn.AuthError", "MQTT", 1),
        (1, "Connect.AuthError", "MQTT", 1),
        (2, "UpdateThingShadow.Accepted", "MQTT", 4),
    )
    found = {each.name: each.counts for each in monitor.series(metrics, NOW)}
    assert list(found) == list(monitor.SERIES)
    assert (found["Messages in"][-1], found["Messages in"][0]) == (5, 7)
    assert sum(found["Messages in"]) == 12
    assert found["Refusals"][-2] == 2
    assert found["Shadow updates"][-3] == 4
    assert sum(found["Connections"]) == 0
    page = monitor.page(monitor.series(metrics, NOW))
    assert "12 in the last hour, 5 in this minute" in page
    assert "most in one minute, 7, 59 minutes ago" in page


def test_nothing_was_counted_yet() -> None:
    nothing = pd.DataFrame(columns=pd.MultiIndex.from_tuples([], names=["name", "protocol"]))
    nothing.index = pd.DatetimeIndex([], tz="UTC", name="minute")
    page = monitor.page(monitor.series(nothing, NOW))
    assert page.count("0 in the last hour") == len(monitor.SERIES)


def test_the_monitor_goes_on_by_itself(
    console: Console, lab: Lab, new_thing: Callable[..., Any]
) -> None:
    drawn = threading.Event()
    thing = new_thing()
    console.refresh()
    console.settle()
    assert console._monitor is not None
    console._monitor.observe(lambda _: drawn.set(), "value")
    with lab.connect(thing.name) as device:
        device.shadow.update(reported={"depth": 1.4})
    assert drawn.wait(10)
    assert "Shadow updates" in console._monitor.value


# --- the test client, and the end -----------------------------------------------------------------


def test_the_test_client_is_there(console: Console) -> None:
    click(console, "Test")
    client = console._client
    assert client.widget in console._body.children
    click(console, "Things")
    assert not client.closed
    click(console, "Test")
    assert console._client is client
    console.close()
    assert client.closed


def test_closing_leaves_no_thread(lab: Lab) -> None:
    before = set(threading.enumerate())
    view = lab.console()
    view.settle()
    view.close()
    left = [each for each in set(threading.enumerate()) - before if "creeklab" in each.name]
    assert left == []
    assert repr(view).endswith("Monitor (closed)")


def test_many_clicks_from_many_threads(console: Console, new_thing: Callable[..., Any]) -> None:
    things = [new_thing().name for _ in range(4)]
    places = [Route("things"), *(Route("thing", name, tab) for name in things for tab in TABS)]

    def clicks(start: int) -> None:
        for place in places[start::3]:
            console.act(lambda place=place: console.go(place))

    threads = [threading.Thread(target=clicks, args=(start,)) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    console.settle(20)
    assert notice(console) == ""
    assert console._shown is console.page


def test_what_a_list_has_no_room_for_is_typed(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_pages, "CHOICES", 1)
    lab = open_lab(home=home)
    iot = lab.client("iot")
    for name in ("First", "Second"):
        iot.create_policy(policyName=name, policyDocument=ALLOW)
    number = iot.create_keys_and_certificate(setAsActive=True)["certificateId"]
    with lab.console() as console:
        console.go(Route("certificate", number))
        fill(console, "Policy", "Second")
        click(console, "Attach policy")
        assert "Policy Second is attached" in notice(console)
