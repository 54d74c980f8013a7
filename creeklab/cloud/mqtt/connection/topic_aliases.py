"""Topic aliases of one MQTT 5 client: numbers that stand for topics it has sent before."""

from __future__ import annotations

from creeklab.cloud.mqtt.codec.wire import ProtocolError, Reason

MAX_TOPIC_ALIAS = 8


class TopicAliases:
    """The aliases that a client has set on its connection."""

    def __init__(self) -> None:
        self._topics: dict[int, str] = {}

    def resolve(self, topic: str, alias: int) -> str:
        """Return the topic of a PUBLISH with an alias; a topic that is not empty sets the alias.

        Raises
        ------
        ProtocolError
            If the alias is out of range, or was never set.
        """
        if not 1 <= alias <= MAX_TOPIC_ALIAS:
            raise ProtocolError(
                Reason.TOPIC_ALIAS_INVALID, f"Topic aliases go from 1 to {MAX_TOPIC_ALIAS}."
            )
        if topic:
            self._topics[alias] = topic
            return topic
        if alias not in self._topics:
            raise ProtocolError(Reason.PROTOCOL_ERROR, f"Topic alias {alias} was never set.")
        return self._topics[alias]
