"""Properties of MQTT 5 as JSON text, for the database, and back."""

from __future__ import annotations

import base64
import json
from typing import Any

from creeklab.cloud.mqtt.codec.wire import Properties


def properties_to_text(properties: Properties) -> str:
    """Return properties as JSON, with ``bytes`` in base64."""
    return json.dumps(properties, default=_encode_bytes) if properties else "{}"


def properties_from_text(text: str) -> Properties:
    """Return the properties in the text of `properties_to_text`."""
    if text == "{}":
        return {}
    properties: Properties = json.loads(text, object_hook=_decode_bytes)
    if "user_properties" in properties:
        properties["user_properties"] = [tuple(pair) for pair in properties["user_properties"]]
    return properties


def _encode_bytes(value: Any) -> dict[str, str]:
    return {"base64": base64.b64encode(value).decode()}


def _decode_bytes(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["base64"]) if set(value) == {"base64"} else value
