"""Waiting time in the first cells of a notebook: the lab, and then a Thing's connection.

Runs in a Python of its own, as a notebook does, so that what `creeklab.open_lab` has to import
counts too. With the name of a Thing that has its certificate and policy, that one connects, else a
new one, made as the course makes it. Prints the times, in seconds from the call of `open_lab`, as
JSON.
"""

from __future__ import annotations

import json
import secrets
import sys
import time

import creeklab


def main() -> None:
    began = time.perf_counter()
    lab = creeklab.open_lab()
    ready = time.perf_counter() - began

    thing = sys.argv[1] if len(sys.argv) > 1 else make_thing(lab)
    device = lab.connect(thing)
    connack = time.perf_counter() - began

    device.close()
    print(json.dumps({"thing": thing, "ready": ready, "connack": connack}))


def make_thing(lab: creeklab.Lab) -> str:
    thing = f"thing-{secrets.token_hex(4)}"
    iot = lab.client("iot")
    iot.create_thing(thingName=thing)
    answer = iot.create_keys_and_certificate(setAsActive=True)
    lab.keys.save(thing, answer)
    iot.attach_thing_principal(thingName=thing, principal=answer["certificateArn"])
    statement = {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iot.create_policy(policyName=thing, policyDocument=policy)
    iot.attach_policy(policyName=thing, target=answer["certificateArn"])
    return thing


if __name__ == "__main__":
    main()
