"""Settings as text: accepted values, and the messages for the others."""

from dataclasses import fields

import pytest

from creeklab.cloud.settings import Settings, parse_settings

TAKEN = [
    ("dollar_topics=spec", "spec"),
    ("connect_denied_311=connack5", "connack5"),
    ("subscribe_denied_311=suback80", "suback80"),
    ("session_expiry_max=0", 0),
    ("sessions_max=0", 0),
    ("retained_max=0", 0),
    ("publish_rate=100", 100),
    ("connect_rate=1", 1),
    ("throughput=524288", 524288),
    ("stored_rate=10", 10),
    ("shadow_first_previous=empty", "empty"),
    ("shadow_first_version=conflict", "conflict"),
    ("shadow_max_bytes=30720", 30720),
    ("joins_per_minute=0", 0),
    ("resend_seconds=0", 0),
    ("idle_hours=0.25", 0.25),
]

REFUSED = [
    ("idle_hour=1", "dollar_topics, .*idle_hours"),
    ("idle_hours", "idle_hours' is not name=value"),
    ("=1", "'=1' is not name=value"),
    ("", "'' is not name=value"),
    ("IDLE_HOURS=1", "not name=value with one of the settings"),
    ("dollar_topics=AWS", "dollar_topics takes aws or all or spec, not 'AWS'"),
    ("dollar_topics=", "dollar_topics takes aws or all or spec, not ''"),
    ("session_expiry_max=1.5", "session_expiry_max takes a number, not '1.5'"),
    ("session_expiry_max=", "session_expiry_max takes a number, not ''"),
    ("shadow_max_bytes=-1", "shadow_max_bytes takes a number of 0 or more, not '-1'"),
    ("idle_hours=soon", "idle_hours takes a number, not 'soon'"),
    ("idle_hours=nan", "idle_hours takes a number of 0 or more, not 'nan'"),
    ("idle_hours=inf", "idle_hours takes a number of 0 or more, not 'inf'"),
]


@pytest.mark.parametrize(("text", "value"), TAKEN)
def test_accepted(text: str, value: object) -> None:
    name = text.partition("=")[0]
    default = Settings()
    changed = parse_settings([text])
    assert getattr(default, name) != value
    assert type(getattr(changed, name)) is type(getattr(default, name))
    for field in fields(Settings):
        expected = value if field.name == name else getattr(default, field.name)
        assert getattr(changed, field.name) == expected


def test_every_setting_is_tested() -> None:
    assert [text.partition("=")[0] for text, _ in TAKEN] == [each.name for each in fields(Settings)]


@pytest.mark.parametrize(("text", "why"), REFUSED)
def test_rejected(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_settings([text])


def test_the_last_assignment_wins() -> None:
    changed = parse_settings(["idle_hours=2", "shadow_max_bytes=9000", "idle_hours=3"])
    assert changed == Settings(shadow_max_bytes=9000, idle_hours=3.0)
    assert parse_settings([]) == Settings()
