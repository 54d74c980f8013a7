"""Functions through boto3, and invoked by rules through awsiotsdk."""

from __future__ import annotations

import base64
import io
import itertools
import json
import sys
import textwrap
import time
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from creeklab import Lab
from creeklab.client.device import Device
from creeklab.cloud.lambda_.function import RUNTIME
from tests.conftest import NewThing

ROLE = "arn:aws:iam::123456789012:role/creek"
HANDLER = "lambda_function.lambda_handler"
numbers = itertools.count(1)


def zipped(source: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("lambda_function.py", textwrap.dedent(source))
    return buffer.getvalue()


@pytest.fixture
def functions(lab: Lab) -> Any:
    return lab.client("lambda")


@pytest.fixture
def create(functions: Any) -> Iterator[Callable[..., str]]:
    """Return a function that creates a Lambda function, which is deleted after the test."""
    names: list[str] = []

    def make(source: str, **members: Any) -> str:
        name = f"creekFunction{next(numbers)}"
        functions.create_function(
            **{
                "FunctionName": name,
                "Role": ROLE,
                "Runtime": RUNTIME,
                "Handler": HANDLER,
                "Code": {"ZipFile": zipped(source)},
                **members,
            }
        )
        names.append(name)
        return name

    yield make
    for name in names:
        functions.delete_function(FunctionName=name)


def invoke(functions: Any, name: str, event: Any = None, **members: Any) -> dict[str, Any]:
    answer: dict[str, Any] = functions.invoke(
        FunctionName=name, Payload=json.dumps(event).encode(), LogType="Tail", **members
    )
    answer["Payload"] = json.loads(answer["Payload"].read())
    if "LogResult" in answer:
        answer["LogResult"] = base64.b64decode(answer["LogResult"]).decode()
    return answer


def refused(call: Callable[..., Any], **members: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        call(**members)
    response: Any = error.value.response
    return response["Error"]["Code"], response["Error"]["Message"]


def entries(lab: Lab, function: str) -> list[dict[str, Any]]:
    found = lab.admin("events", {})["entries"]
    return [each for each in found if each["kind"] == "function" and each["function"] == function]


def wait_for(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Return the first true result of `condition`, which asks the cloud each time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
    raise TimeoutError


ECHO = """
    import logging, os

    count = 0

    def lambda_handler(event, context):
        global count
        count += 1
        print("received", event)
        logging.warning("depth is high")
        return {
            "event": event,
            "count": count,
            "function": context.function_name,
            "memory": context.memory_limit_in_mb,
            "left": 0 < context.get_remaining_time_in_millis() <= 3000,
            "site": os.environ.get("SITE"),
            "region": os.environ["AWS_REGION"],
            "hidden": "PYTHONPATH" in os.environ,
        }
"""


def test_a_function_returns_its_result_and_its_log(
    functions: Any, create: Callable[..., str]
) -> None:
    name = create(ECHO, Environment={"Variables": {"SITE": "bend"}})
    first = invoke(functions, name, {"depth": 6.63})
    assert (first["StatusCode"], first["ExecutedVersion"]) == (200, "$LATEST")
    assert "FunctionError" not in first
    assert first["Payload"] == {
        "event": {"depth": 6.63},
        "count": 1,
        "function": name,
        "memory": "128",
        "left": True,
        "site": "bend",
        "region": "us-east-1",
        "hidden": False,
    }
    lines = first["LogResult"].splitlines()
    assert lines[0].startswith("START RequestId: ")
    assert lines[0].endswith(" Version: $LATEST")
    assert lines[1] == "received {'depth': 6.63}"
    assert lines[2].startswith("[WARNING]\t20")
    assert lines[2].endswith("\tdepth is high")
    assert lines[3].startswith("END RequestId: ")
    assert "\tMemory Size: 128 MB\tMax Memory Used: " in lines[4]
    assert "Init Duration" in lines[4]
    second = invoke(functions, name, {})  # the environment is used again
    assert second["Payload"]["count"] == 2
    assert "Init Duration" not in second["LogResult"]


FAILURES = [
    ("def lambda_handler(event, context): return {}['depth']", "KeyError", "'depth'"),
    ("def lambda_handler(event, context): return object()", "Runtime.MarshalError", "not JSON"),
    ("def other(event, context): pass", "Runtime.HandlerNotFound", "Handler 'lambda_handler'"),
    ("import pymysql_x", "Runtime.ImportModuleError", "No module named 'pymysql_x'"),
    ("def lambda_handler(:", "Runtime.UserCodeSyntaxError", "Syntax error in module"),
    (
        "def lambda_handler(event, context):\n    while True: pass",
        "Sandbox.Timedout",
        "Task timed out after 1.00 seconds",
    ),
    ("import os\ndef lambda_handler(e, c): os._exit(7)", "Runtime.ExitError", "exit status 7"),
    (
        "def lambda_handler(event, context):\n    while True: print('x' * 100_000)",
        "Runtime.OutputLimit",
        "wrote more than 16777216 bytes",
    ),
    ("def lambda_handler(e, c): return len('x' * 400_000_000)", "MemoryError", ""),
    (
        "def lambda_handler(e, c): return 'x' * 7_000_000",
        "Function.ResponseSizeTooLarge",
        "The response has more than 6291456 bytes",
    ),
]


@pytest.mark.parametrize(("source", "error", "message"), FAILURES, ids=[f[1] for f in FAILURES])
def test_a_failure_is_reported_and_harms_nobody_else(
    functions: Any, create: Callable[..., str], source: str, error: str, message: str, lab: Lab
) -> None:
    name = create(source, Timeout=1 if "Timedout" in error else 5)
    answer = invoke(functions, name, {})
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert answer["Payload"]["errorType"] == error
    assert message in answer["Payload"]["errorMessage"]
    [entry] = entries(lab, name)
    assert error in entry["refusal"]["summary"]
    functions.update_function_code(
        FunctionName=name, ZipFile=zipped("def lambda_handler(event, context): return 'well'")
    )
    assert invoke(functions, name, {})["Payload"] == "well"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_timeout_ends_child_processes(
    functions: Any, create: Callable[..., str], tmp_path: Any
) -> None:
    mark = tmp_path / "pid"
    name = create(
        f"""
        import pathlib, subprocess, sys

        def lambda_handler(event, context):
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            pathlib.Path({str(mark)!r}).write_text(str(child.pid))
            child.wait()
        """,
        Timeout=2,
        MemorySize=512,
    )
    assert invoke(functions, name, {})["Payload"]["errorType"] == "Sandbox.Timedout"
    pid = mark.read_text()

    def ended() -> bool:
        try:
            with open(f"/proc/{pid}/stat") as status:  # noqa: PTH123
                return status.read().rsplit(")", 1)[1].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    assert wait_for(ended)


def test_boto3_in_a_function_reaches_the_local_cloud(
    functions: Any, create: Callable[..., str], lab: Lab
) -> None:
    name = create(
        """
        import boto3

        def lambda_handler(event, context):
            return boto3.client("sts").get_caller_identity()["Account"]
        """,
        MemorySize=512,
        Timeout=20,
    )
    assert invoke(functions, name, {})["Payload"] == lab.account


def test_an_event_is_tried_three_times(
    functions: Any, create: Callable[..., str], lab: Lab
) -> None:
    name = create("def lambda_handler(event, context): raise ValueError(event['n'])")
    answer = functions.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"n": 7}')
    assert answer["StatusCode"] == 202
    found = wait_for(lambda: len(entries(lab, name)) == 3 and entries(lab, name))
    assert len({entry["request_id"] for entry in found}) == 1
    assert all("ValueError: 7" in entry["refusal"]["summary"] for entry in found)
    assert functions.invoke(FunctionName=name, InvocationType="DryRun")["StatusCode"] == 204


# --- functions ------------------------------------------------------------------------------------


def test_a_function_is_described_changed_and_deleted(functions: Any, lab: Lab) -> None:
    code = zipped(ECHO)
    made = functions.create_function(
        FunctionName="described",
        Role=ROLE,
        Runtime=RUNTIME,
        Handler=HANDLER,
        Code={"ZipFile": code},
        Tags={"owner": "ann"},
    )
    arn = f"arn:aws:lambda:{lab.region}:{lab.account}:function:described"
    assert (made["FunctionArn"], made["Timeout"], made["CodeSize"]) == (arn, 3, len(code))
    functions.get_waiter("function_active_v2").wait(FunctionName="described")
    for name in ("described", arn, f"{arn}:$LATEST", f"{lab.account}:function:described"):
        found = functions.get_function(FunctionName=name)
        assert (found["Configuration"]["FunctionName"], found["Tags"]) == (
            "described",
            {"owner": "ann"},
        )
    functions.update_function_configuration(FunctionName="described", Timeout=30, MemorySize=256)
    functions.get_waiter("function_updated_v2").wait(FunctionName="described")
    changed = functions.get_function_configuration(FunctionName="described")
    assert (changed["Timeout"], changed["MemorySize"]) == (30, 256)
    assert changed["CodeSha256"] == made["CodeSha256"]
    assert "described" in [each["FunctionName"] for each in functions.list_functions()["Functions"]]
    functions.delete_function(FunctionName="described")
    assert refused(functions.get_function, FunctionName="described") == (
        "ResourceNotFoundException",
        f"Function not found: {arn}",
    )


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"Runtime": "nodejs22.x"}, f"the only runtime is {RUNTIME}, not nodejs22.x"),
        ({"Layers": ["arn:aws:lambda:us-east-1:123456789012:layer:x:1"]}, "does not have Layers"),
        ({"VpcConfig": {"SubnetIds": ["subnet-1"]}}, "does not have VpcConfig"),
        ({"Publish": True}, "does not have Publish"),
        ({"Code": {"S3Bucket": "creek", "S3Key": "x.zip"}}, "does not have S3Bucket"),
        ({"Code": {"ZipFile": b"not a zip"}}, "Could not unzip uploaded file"),
        ({"Environment": {"Variables": {"AWS_REGION": "x"}}}, "reserved keys: AWS_REGION"),
        ({"Environment": {"Variables": {"SITE": "x" * 5000}}}, "more than 4096 bytes"),
        ({"Handler": "handler"}, "'handler' is not a handler. Write <module>.<function>"),
    ],
)
def test_a_wrong_function_is_refused(functions: Any, members: Any, message: str) -> None:
    valid = {
        "FunctionName": "wrong",
        "Role": ROLE,
        "Runtime": RUNTIME,
        "Handler": HANDLER,
        "Code": {"ZipFile": zipped(ECHO)},
    }
    code, text = refused(functions.create_function, **{**valid, **members})
    assert message in text
    assert code == "InvalidParameterValueException"
    assert refused(functions.get_function, FunctionName="wrong")[0] == "ResourceNotFoundException"


def test_an_existing_name_is_refused(functions: Any, create: Callable[..., str]) -> None:
    name = create(ECHO)
    found = refused(
        functions.create_function,
        FunctionName=name,
        Role=ROLE,
        Runtime=RUNTIME,
        Handler=HANDLER,
        Code={"ZipFile": zipped(ECHO)},
    )
    assert found == ("ResourceConflictException", f"Function already exist: {name}")


def test_what_lambda_has_and_this_cloud_does_not_is_refused_by_name(functions: Any) -> None:
    code, message = refused(functions.list_layers)
    assert code == "NotImplementedException"
    assert "ListLayers is an operation of AWS Lambda" in message


# --- permissions and rules ------------------------------------------------------------------------


def permission(name: str, **members: Any) -> dict[str, Any]:
    return {
        "FunctionName": name,
        "StatementId": "rule",
        "Action": "lambda:InvokeFunction",
        "Principal": "iot.amazonaws.com",
        **members,
    }


def test_permissions_are_added_shown_and_removed(
    functions: Any, create: Callable[..., str], lab: Lab
) -> None:
    name = create(ECHO)
    assert refused(functions.get_policy, FunctionName=name) == (
        "ResourceNotFoundException",
        "The resource you requested does not exist.",
    )
    source = f"arn:aws:iot:{lab.region}:{lab.account}:rule/FloodAlarm"
    members = permission(name, SourceArn=source, SourceAccount=lab.account)
    statement = json.loads(functions.add_permission(**members)["Statement"])
    assert statement == {
        "Sid": "rule",
        "Effect": "Allow",
        "Principal": {"Service": "iot.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Resource": f"arn:aws:lambda:{lab.region}:{lab.account}:function:{name}",
        "Condition": {
            "StringEquals": {"AWS:SourceAccount": lab.account},
            "ArnLike": {"AWS:SourceArn": source},
        },
    }
    assert json.loads(functions.get_policy(FunctionName=name)["Policy"])["Statement"] == [statement]
    code, message = refused(functions.add_permission, **members)
    assert (code, message[:30]) == ("ResourceConflictException", "The statement id (rule) provid")
    functions.remove_permission(FunctionName=name, StatementId="rule")
    assert refused(functions.remove_permission, FunctionName=name, StatementId="rule")[0] == (
        "ResourceNotFoundException"
    )


@pytest.fixture
def device(lab: Lab, new_thing: Callable[..., NewThing]) -> Iterator[Device]:
    with lab.connect(new_thing().name) as device:
        yield device


def test_a_rule_invokes_a_function_once_it_is_allowed_to(
    functions: Any, create: Callable[..., str], lab: Lab, device: Device
) -> None:
    name = create(
        """
        import boto3, json

        def lambda_handler(event, context):
            boto3.client("iot-data").publish(
                topic="creek/alarm", qos=1, payload=json.dumps({"seen": event})
            )
        """,
        MemorySize=512,
        Timeout=20,
    )
    iot, rule = lab.client("iot"), f"flood_{next(numbers)}"
    arn = f"arn:aws:lambda:{lab.region}:{lab.account}:function:{name}"
    iot.create_topic_rule(
        ruleName=rule,
        topicRulePayload={
            "sql": f"SELECT depth, topic(2) AS thing FROM '{rule}/+' WHERE depth > 5.5",
            "actions": [{"lambda": {"functionArn": arn}}],
            "errorAction": {"republish": {"roleArn": ROLE, "topic": f"{rule}/error/x"}},
            "awsIotSqlVersion": "2016-03-23",
        },
    )
    alarms, errors = device.subscribe("creek/alarm"), device.subscribe(f"{rule}/error/#")
    device.publish(f"{rule}/test2", {"depth": 6.63})
    [failure] = errors.wait_for(1)[0].json["failures"]
    assert (failure["failedAction"], failure["failedResource"]) == ("LambdaAction", arn)
    assert "The error code is 403. The function has no resource policy." in failure["errorMessage"]
    assert f"add_permission(FunctionName='{name}'" in failure["errorMessage"]

    functions.add_permission(
        **permission(name, SourceArn=f"arn:aws:iot:{lab.region}:{lab.account}:rule/other")
    )
    device.publish(f"{rule}/test2", {"depth": 6.63})
    [failure] = errors.wait_for(2)[1].json["failures"]
    assert (
        f"rule/other, not arn:aws:iot:{lab.region}:{lab.account}:rule/{rule}"
        in (failure["errorMessage"])
    )

    members = permission(name, SourceArn=f"arn:aws:iot:{lab.region}:{lab.account}:rule/{rule}")
    functions.add_permission(**{**members, "StatementId": "right"})
    device.publish(f"{rule}/test2", {"depth": 6.63})
    assert alarms.wait_for(1, timeout=30)[0].json == {"seen": {"depth": 6.63, "thing": "test2"}}
    iot.delete_topic_rule(ruleName=rule)
