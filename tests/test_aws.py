"""A lab on AWS, as far as it can be tested without AWS.

Calls go to moto, an independent implementation of AWS's services. Where a device has to connect, a
local cloud stands in for AWS.
"""

from __future__ import annotations

import hashlib
import json
import ssl
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import awscrt.io
import awscrt.mqtt5
import boto3
import certifi
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from cryptography import x509
from moto.server import ThreadedMotoServer

from creeklab import Lab, open_lab
from creeklab.client.device import RequestRefused
from creeklab.client.key_files import ThingFiles
from creeklab.cloud import supervisor
from creeklab.resources.resource import ResourceKind
from creeklab.targets import aws
from creeklab.targets.aws import AwsError, open_aws
from creeklab.targets.target import NotSupportedOnAws
from tests.aws_stand_in import no_aws_settings, stand_in
from tests.conftest import make_thing
from tests.test_ledger import POLICY_TEXT

FINGERPRINT = (
    "8E:CD:E6:88:4F:3D:87:B1:12:5B:A3:1A:C3:FC:B1:3D:"
    "70:16:DE:7F:57:CC:90:4F:E1:CB:97:C6:AE:98:19:6E"
)


# --- the CA that devices trust --------------------------------------------------------------------


def test_amazon_root_ca_1_is_the_true_one() -> None:
    pem = aws.CA_FILE.read_text()
    assert pem.count("BEGIN CERTIFICATE") == 1
    der = ssl.PEM_cert_to_DER_cert(pem)
    digest = hashlib.sha256(der).hexdigest().upper()
    assert ":".join(digest[at : at + 2] for at in range(0, 64, 2)) == FINGERPRINT
    assert der in {
        ssl.PEM_cert_to_DER_cert(f"{each}-----END CERTIFICATE-----")
        for each in Path(certifi.where()).read_text().split("-----END CERTIFICATE-----")
        if "BEGIN" in each
        for each in [each[each.index("-----BEGIN") :]]
    }
    certificate = x509.load_pem_x509_certificate(pem.encode())
    assert certificate.subject.rfc4514_string() == "CN=Amazon Root CA 1,O=Amazon,C=US"
    assert certificate.serial_number == 0x066C9FCF99BF8C0A39E2F0788A43E696365BCA
    readme = (aws.CA_FILE.parent / "README.md").read_text()
    assert FINGERPRINT in readme
    assert f"{certificate.not_valid_after_utc:%Y-%m-%d}" in readme


# --- opening it, on moto ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def moto_address() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def moto(moto_address: str) -> Iterator[pytest.MonkeyPatch]:
    """Credentials, region and endpoint that lead to moto."""
    with no_aws_settings() as patch:
        patch.setenv("AWS_ENDPOINT_URL", moto_address)
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        patch.setenv("AWS_REGION", "eu-west-1")
        patch.setattr(aws, "reachable_port", lambda _: 8883)
        yield patch


def test_account_region_and_ats_endpoint_are_the_accounts_own(
    moto: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lab = open_lab("aws", home=tmp_path)
    assert (lab.target, lab.account, lab.region) == ("aws", "123456789012", "eu-west-1")
    assert "-ats.iot.eu-west-1.amazonaws.com" in lab.endpoint
    assert (lab.mqtt_port, lab.https_port, lab.ca_file) == (8883, 443, aws.CA_FILE)
    assert repr(lab) == "Lab: aws cloud, account 123456789012, region eu-west-1"
    assert lab.keys.folder == tmp_path / "aws" / "123456789012-eu-west-1" / "keys"
    assert stat.S_IMODE((tmp_path / "aws").stat().st_mode) & 0o077 == 0
    assert not (tmp_path / "cloud").exists()


def test_the_environment_chooses_the_target(moto: pytest.MonkeyPatch, tmp_path: Path) -> None:
    moto.setenv("CREEKLAB_TARGET", "aws")
    assert open_lab(home=tmp_path).target == "aws"
    moto.setenv("CREEKLAB_TARGET", "mars")
    with pytest.raises(ValueError, match="not 'mars'"):
        open_lab(home=tmp_path)


@pytest.mark.parametrize("how", ["AWS_DEFAULT_REGION", "profile"])
def test_region_and_credentials_come_from_where_boto3_finds_them(
    how: str, moto: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    moto.delenv("AWS_REGION")
    if how == "profile":
        moto.delenv("AWS_ACCESS_KEY_ID")
        moto.delenv("AWS_SECRET_ACCESS_KEY")
        moto.setenv("AWS_PROFILE", "creek")
        config, credentials = tmp_path / "config", tmp_path / "credentials"
        config.write_text("[profile creek]\nregion = sa-east-1\n")
        credentials.write_text("[creek]\naws_access_key_id = A\naws_secret_access_key = B\n")
        moto.setenv("AWS_CONFIG_FILE", str(config))
        moto.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    else:
        moto.setenv(how, "sa-east-1")
    assert open_lab("aws", home=tmp_path / "home").region == "sa-east-1"


@pytest.mark.parametrize(
    ("without", "says"),
    [
        (["AWS_REGION"], "No AWS region is chosen"),
        (["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"], "no AWS credentials"),
    ],
)
def test_missing_settings_are_named_with_their_fix(
    without: list[str], says: str, moto: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in without:
        moto.delenv(name)
    with pytest.raises(AwsError, match=f"(?s){says}.*aws configure"):
        open_lab("aws", home=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_profile(moto: pytest.MonkeyPatch, tmp_path: Path) -> None:
    moto.setenv("AWS_PROFILE", "nonesuch")
    with pytest.raises(AwsError, match=r"nonesuch.*AWS_PROFILE"):
        open_lab("aws", home=tmp_path)


def test_aws_that_cannot_be_reached(moto: pytest.MonkeyPatch, tmp_path: Path) -> None:
    moto.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    moto.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(AwsError, match="Cannot call AWS"):
        open_lab("aws", home=tmp_path)


@pytest.mark.parametrize(
    ("arn", "refused"),
    [
        ("arn:aws:iam::123456789012:root", True),
        ("arn:aws-cn:iam::123456789012:root", True),
        ("arn:aws:iam::123456789012:user/root", False),
        ("arn:aws:sts::123456789012:assumed-role/root/me", False),
    ],
)
def test_the_root_user_is_refused_with_a_reason(
    arn: str, refused: bool, moto: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Sts:
        def get_caller_identity(self) -> dict[str, str]:
            return {"Account": "123456789012", "Arn": arn, "UserId": "x"}

    client = boto3.Session.client
    moto.setattr(
        boto3.Session,
        "client",
        lambda self, name, **options: Sts() if name == "sts" else client(self, name, **options),
    )
    if not refused:
        assert open_lab("aws", home=tmp_path).target == "aws"
        return
    with pytest.raises(AwsError, match=r"root user.*Create an IAM user"):
        open_lab("aws", home=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_home_in_a_git_work_tree_is_refused(moto: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    with pytest.raises(ValueError, match="git work tree"):
        open_lab("aws", home=tmp_path / "home")


# --- nothing costs money before the user accepts costs --------------------------------------------


def never_asked(_: str) -> str:
    raise AssertionError("nobody was to be asked")


@pytest.fixture
def typed(moto: pytest.MonkeyPatch) -> Callable[[str | type[Exception]], list[str]]:
    """Answer the next prompts like this; return the prompts."""

    def answer(text: str | type[Exception]) -> list[str]:
        asked: list[str] = []

        def say(question: str) -> str:
            asked.append(question)
            if not isinstance(text, str):
                raise text
            return text

        moto.setattr("builtins.input", say)
        return asked

    return answer


def test_it_asks_once_before_the_first_billed_call(
    typed: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = typed("Yes")
    lab = open_lab("aws", home=tmp_path)
    lab.client("sts").get_caller_identity()
    lab.client("iot").describe_endpoint(endpointType="iot:Data-ATS")
    assert asked == []
    lab.client("iot").list_things()
    lab.client("iot").list_things()
    assert len(asked) == 1
    assert "account 123456789012, region eu-west-1" in capsys.readouterr().out
    again = open_lab("aws", home=tmp_path)
    again.client("iot").list_things()
    assert len(asked) == 1


@pytest.mark.parametrize("answer", ["no", "", "y", EOFError, NotImplementedError])
@pytest.mark.parametrize("service", ["iot", "iot-data"])
def test_nothing_is_done_without_a_yes(
    service: str,
    answer: str | type[Exception],
    typed: Callable[..., list[str]],
    tmp_path: Path,
) -> None:
    typed(answer)
    lab = open_lab("aws", home=tmp_path)
    client = lab.client(service)
    sent: list[str] = []
    client.meta.events.register("before-send", lambda **_: sent.append("a call"))
    with pytest.raises(AwsError, match=r"nobody accepted.*accept_costs=True.*_COSTS=yes"):
        client.create_thing(thingName="t") if service == "iot" else client.publish(topic="t")
    assert sent == []
    asked = typed("yes")
    lab.client("iot").create_thing(thingName="t")
    assert len(asked) == 1
    lab.client("iot").delete_thing(thingName="t")


def test_a_connection_costs_too(typed: Callable[..., list[str]], tmp_path: Path) -> None:
    asked = typed("no")
    lab = open_lab("aws", home=tmp_path)
    pair = {"PrivateKey": "x"}
    lab.keys.save("t", {"certificatePem": "x", "keyPair": pair})
    with pytest.raises(AwsError, match="nobody accepted the costs"):
        lab.connect("t")
    assert len(asked) == 1


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_a_program_accepts_costs_in_advance(
    how: str, moto: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    moto.setattr("builtins.input", never_asked)
    if how == "environment":
        moto.setenv("CREEKLAB_ACCEPT_COSTS", "yes")
    lab = open_lab("aws", home=tmp_path, accept_costs=how == "argument")
    lab.client("iot").list_things()


def test_consent_is_given_for_each_account_and_region(
    moto: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    open_lab("aws", home=tmp_path, accept_costs=True)
    moto.setenv("AWS_REGION", "us-west-2")
    moto.setattr("builtins.input", lambda _: "no")
    with pytest.raises(AwsError):
        open_lab("aws", home=tmp_path).client("iot").list_things()


# --- how a device connects ------------------------------------------------------------------------


@pytest.mark.parametrize(("port", "alpn"), [(8883, None), (443, ["x-amzn-mqtt-ca"])])
def test_port_alpn_ca_and_host_of_the_connection(
    port: int, alpn: list[str] | None, moto: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Check the connection that the SDK is about to open, where it calls its C part."""
    seen: dict[str, Any] = {}

    class Caught(Exception):
        pass

    def client(client_options: awscrt.mqtt5.ClientOptions) -> Any:
        seen["options"] = client_options
        raise Caught

    context = awscrt.io.ClientTlsContext

    def tls(options: awscrt.io.TlsContextOptions) -> Any:
        seen["tls"] = options
        return context(options)

    lab = open_lab("aws", home=tmp_path, accept_costs=True, mqtt_port=port)
    lab.keys.save("Test2", lab.client("iot").create_keys_and_certificate())
    moto.setattr(awscrt.mqtt5, "Client", client)
    moto.setattr(awscrt.io, "ClientTlsContext", tls)
    with pytest.raises(Caught):
        lab.connect("Test2")
    options = seen["options"]
    assert (options.host_name, options.port) == (lab.endpoint, port)
    assert options.connect_options.client_id == "Test2"
    assert seen["tls"].alpn_list == alpn
    trusted = seen["tls"].ca_buffer
    assert ssl.PEM_cert_to_DER_cert(bytes(trusted).decode()) == ssl.PEM_cert_to_DER_cert(
        aws.CA_FILE.read_text()
    )
    assert seen["tls"].verify_peer


def test_port_443_is_taken_where_8883_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    open_ports: set[int] = set()

    class Connection:
        def close(self) -> None:
            pass

    def connect(address: tuple[str, int], timeout: float) -> Connection:
        tried.append(address[1])
        assert address[0] == "a-ats.iot.x.amazonaws.com"
        if address[1] not in open_ports:
            raise TimeoutError
        return Connection()

    monkeypatch.setattr("socket.create_connection", connect)
    for ports, chosen in [({8883, 443}, 8883), ({443}, 443), (set(), 8883)]:
        open_ports = ports
        assert aws.reachable_port("a-ats.iot.x.amazonaws.com") == chosen
    assert tried == [8883, 8883, 443, 8883, 443]


# --- one lab, whatever it is opened on: a local cloud stands in for AWS ---------------------------


@pytest.fixture(scope="module")
def aws_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with stand_in(tmp_path_factory.mktemp("aws")):
        yield open_lab("aws", home=tmp_path_factory.mktemp("home"), accept_costs=True)


def outsider(lab: Lab) -> Any:
    """Return a client of the account that the lab does not observe."""
    return boto3.Session(region_name=lab.region).client("iot")


def test_a_device_and_its_shadow_work_as_on_the_local_cloud(aws_lab: Lab) -> None:
    thing = make_thing(aws_lab)
    with aws_lab.connect(thing.name) as device:
        inbox = device.subscribe("creek/#")
        device.publish("creek/depth", {"depth": 1.4})
        assert inbox.wait_for(1)[0].json == {"depth": 1.4}
        device.shadow.update(reported={"depth": 1.4})
    assert supervisor.status(aws_lab.home) is None  # the lab has no local cloud of its own
    assert aws_lab.check.thing(thing.name)
    assert aws_lab.check.certificate(thing.name)
    assert aws_lab.check.connection(thing.name)
    assert aws_lab.check.shadow(thing.name, depth=1.4)
    assert aws_lab.ledger.has(ResourceKind.THING, thing.name)
    assert aws_lab.ledger.cost().usage.messages > 0
    assert "Estimate of what the usage so far costs, at prices" in repr(aws_lab.ledger.cost())


def test_the_account_itself_connects_with_the_credentials_of_the_session(aws_lab: Lab) -> None:
    before = aws_lab.ledger.cost().usage.messages
    with aws_lab.connect_account() as account:
        inbox = account.subscribe("from/the/account")
        account.publish("from/the/account", "x")
        assert inbox.wait_for(1)[0].payload == b"x"
    # CONNECT, SUBSCRIBE, PUBLISH out and in, PUBACK
    assert aws_lab.ledger.cost().usage.messages == before + 5


def test_resources_are_tagged(aws_lab: Lab) -> None:
    iot = aws_lab.client("iot")
    mine = [{"Key": "season", "Value": "spring"}]
    arns = [
        iot.create_policy(policyName="tagged", policyDocument=POLICY_TEXT)["policyArn"],
        iot.create_thing_group(thingGroupName="tagged", tags=mine)["thingGroupArn"],
        iot.create_thing_type(thingTypeName="tagged")["thingTypeArn"],
    ]
    for arn in arns:
        tags = iot.list_tags_for_resource(resourceArn=arn)["tags"]
        assert {"Key": "creeklab", "Value": "lab"} in tags
    assert mine[0] in iot.list_tags_for_resource(resourceArn=arns[1])["tags"]
    assert mine == [{"Key": "season", "Value": "spring"}]


def test_local_features_name_an_alternative(aws_lab: Lab) -> None:
    for ask in (aws_lab.events, aws_lab.metrics):
        with pytest.raises(NotSupportedOnAws, match="CloudWatch"):
            ask()
    with pytest.raises(NotSupportedOnAws, match=r"ledger\.tear_down"):
        aws_lab.reset()


def test_why_explains_the_last_refusal_to_a_device_of_this_lab(aws_lab: Lab) -> None:
    again = open_lab("aws", home=aws_lab.home)
    assert again.why().summary == "Nothing was refused."
    allow = {"Effect": "Allow", "Action": "iot:*", "Resource": "ARN:client/THING"}
    thing = make_thing(again, [allow])
    with again.connect(thing.name) as device:
        for ask, action, resource in [
            (lambda: device.publish("creek/depth", "x"), "iot:Publish", "topic/creek/depth"),
            (lambda: device.subscribe("creek/#"), "iot:Subscribe", "topicfilter/creek/#"),
        ]:
            with pytest.raises(RequestRefused):
                ask()
            assert (again.why().entry["action"], again.why().entry["resource"]) == (  # type: ignore[index]
                action,
                resource,
            )
    with pytest.raises(RequestRefused):
        again.connect(thing.name, client_id="somebody")
    assert again.ledger.last_refusal == (thing.name, "iot:Connect", "somebody")
    assert "client/somebody" in repr(again.why())


def test_the_doctor_checks_a_device_on_aws(aws_lab: Lab) -> None:
    thing = make_thing(aws_lab)
    assert aws_lab.doctor(thing.name, publish=["a/b"]).ok


def test_catch_up_changes_only_resources_of_this_lab(aws_lab: Lab) -> None:
    iot = outsider(aws_lab)
    for notebook in ("04-policy", "08-creek-sensor", "03-thing-and-certificate"):
        assert aws_lab.catch_up(notebook)
    theirs = iot.create_thing(thingName="Test2")["thingId"]
    with pytest.raises(
        RuntimeError, match="this lab did not create the Thing 'Test2' in your AWS account"
    ):
        aws_lab.catch_up("03-thing-and-certificate")
    assert iot.describe_thing(thingName="Test2")["thingId"] == theirs
    iot.delete_thing(thingName="Test2")

    iot.create_policy(policyName="OwnTopicPolicy", policyDocument=POLICY_TEXT)
    with pytest.raises(RuntimeError, match="policy 'OwnTopicPolicy'"):
        aws_lab.catch_up("04-policy")
    iot.delete_policy(policyName="OwnTopicPolicy")


def test_catch_up_detaches_no_certificate_of_others(aws_lab: Lab) -> None:
    iot = outsider(aws_lab)
    aws_lab.catch_up("05-mqtt")
    arn = iot.create_keys_and_certificate(setAsActive=True)["certificateArn"]
    iot.attach_thing_principal(thingName="Test2", principal=arn)
    assert aws_lab.catch_up("05-mqtt")  # it does no harm
    before = iot.list_thing_principals(thingName="Test2")["principals"]
    assert arn in before
    number = arn.rpartition("/")[2]
    with pytest.raises(RuntimeError, match=f"Thing 'Test2' has certificate {number} in your AWS"):
        aws_lab.catch_up("03-thing-and-certificate")
    assert sorted(iot.list_thing_principals(thingName="Test2")["principals"]) == sorted(before)
    known = iot.describe_certificate(certificateId=number)
    assert known["certificateDescription"]["status"] == "ACTIVE"
    iot.detach_thing_principal(thingName="Test2", principal=arn)
    assert aws_lab.catch_up("03-thing-and-certificate")
    mine = aws_lab.client("iot").create_keys_and_certificate(setAsActive=True)["certificateArn"]
    aws_lab.catch_up("04")
    aws_lab.client("iot").attach_thing_principal(thingName="Test2", principal=mine)
    aws_lab.catch_up("05")
    assert (
        mine not in iot.list_thing_principals(thingName="Test2")["principals"]
    )  # a second certificate


REGIONS = ("us-east-1", "eu-west-1")


def test_a_region_takes_down_only_its_own_resources(
    moto: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    labs = []
    for region in REGIONS:
        moto.setenv("AWS_REGION", region)
        labs.append(open_lab("aws", home=tmp_path, accept_costs=True))
    here, there = labs
    for lab in labs:
        lab.client("iot").create_thing(thingName="Test2")
    here.client("iot").create_thing(thingName="gauge-1")
    # A call to another region is not this lab's.
    here.session.client("iot", region_name=REGIONS[1]).create_thing(thingName="gauge-2")

    assert [one.names for one in here.ledger.resources()] == [("Test2",), ("gauge-1",)]
    assert [one.names for one in there.ledger.resources()] == [("Test2",)]
    assert there.ledger.tear_down().ok
    assert there.ledger.resources() == ()
    assert [one.names for one in here.ledger.resources()] == [("Test2",), ("gauge-1",)]
    assert here.ledger.tear_down().ok
    left = there.client("iot").list_things()["things"]
    assert [each["thingName"] for each in left] == ["gauge-2"]


@pytest.mark.parametrize("shadow", [{}, {"shadowName": "settings"}])
def test_catch_up_deletes_no_shadow_of_others(aws_lab: Lab, shadow: dict[str, str]) -> None:
    """A shadow can exist without a Thing in the registry."""
    data = boto3.Session(region_name=aws_lab.region).client("iot-data")
    data.update_thing_shadow(thingName="gauge-1", payload='{"state": {}}', **shadow)
    with pytest.raises(RuntimeError, match=r"the shadow .*of 'gauge-1' in your AWS account"):
        aws_lab.catch_up("03")
    assert data.get_thing_shadow(thingName="gauge-1", **shadow)
    data.delete_thing_shadow(thingName="gauge-1", **shadow)
    assert aws_lab.catch_up("03")


def test_catch_up_deletes_the_shadow_that_outlived_a_thing_of_this_lab(aws_lab: Lab) -> None:
    aws_lab.client("iot").create_thing(thingName="gauge-2")
    data = boto3.Session(region_name=aws_lab.region).client("iot-data")
    data.update_thing_shadow(thingName="gauge-2", payload='{"state": {}}')
    aws_lab.client("iot").delete_thing(thingName="gauge-2")
    aws_lab.catch_up("03")
    with pytest.raises(data.exceptions.ResourceNotFoundException):
        data.get_thing_shadow(thingName="gauge-2")


def test_catch_up_keeps_a_thing_that_others_re_created(aws_lab: Lab) -> None:
    iot = outsider(aws_lab)
    aws_lab.catch_up("05")
    for principal in iot.list_thing_principals(thingName="Test2")["principals"]:
        iot.detach_thing_principal(thingName="Test2", principal=principal)
    iot.delete_thing(thingName="Test2")
    theirs = iot.create_thing(thingName="Test2")["thingId"]
    for notebook in ("03", "05"):
        with pytest.raises(RuntimeError, match="the Thing 'Test2' in your AWS account"):
            aws_lab.catch_up(notebook)
    assert iot.describe_thing(thingName="Test2")["thingId"] == theirs
    iot.delete_thing(thingName="Test2")
    assert aws_lab.catch_up("05")  # re-created by this lab
    assert aws_lab.catch_up("03")


def test_catch_up_detaches_no_policy_from_a_certificate_of_others(aws_lab: Lab) -> None:
    iot = outsider(aws_lab)
    aws_lab.catch_up("05")
    arn = iot.create_keys_and_certificate(setAsActive=True)["certificateArn"]
    iot.attach_policy(policyName="Test2Policy", target=arn)
    before = iot.list_targets_for_policy(policyName="Test2Policy")["targets"]
    number = arn.rpartition("/")[2]
    with pytest.raises(RuntimeError, match=f"'Test2Policy' is attached to certificate {number}"):
        aws_lab.catch_up("04")
    assert iot.list_targets_for_policy(policyName="Test2Policy")["targets"] == before
    iot.detach_policy(policyName="Test2Policy", target=arn)
    assert aws_lab.catch_up("04")
    aws_lab.client("iot").create_policy(policyName="HashPolicy", policyDocument=POLICY_TEXT)
    aws_lab.client("iot").attach_policy(policyName="HashPolicy", target=arn)  # by the lab itself
    assert aws_lab.catch_up("04")


def test_catch_up_keeps_the_key_of_a_certificate_that_it_does_not_delete(aws_lab: Lab) -> None:
    iot = outsider(aws_lab)
    aws_lab.catch_up("05")
    aws_lab.keys.remove("Test2")
    answer = iot.create_keys_and_certificate(setAsActive=True)
    aws_lab.keys.save("Test2", answer)
    aws_lab.catch_up("03")
    assert "Test2" not in aws_lab.keys.things()
    [folder] = aws_lab.keys.folders("Test2")
    assert aws_lab.keys.certificates()[folder] == answer["certificateId"]
    assert (folder / "private.pem.key").read_text() == answer["keyPair"]["PrivateKey"]
    aws_lab.keys.remove("Test2")


@pytest.mark.parametrize(
    ("operation", "code", "what"),
    [
        ("DeletePolicy", "DeleteConflictException", "the policy 'Test2Policy'"),
        ("DeleteThing", "InvalidRequestException", "the Thing 'Test2'"),
        ("DeleteCertificate", "DeleteConflictException", "certificate "),
    ],
)
def test_catch_up_explains_the_delay_after_a_detachment(
    aws_lab: Lab, operation: str, code: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws_lab.catch_up("05")
    client = aws_lab.client

    def refuse(**_: Any) -> tuple[Any, dict[str, Any]]:
        refused = AWSResponse("https://nobody", 409, {}, None)
        return refused, {"Error": {"Code": code, "Message": "It is attached."}}

    def refusing(service: str) -> Any:
        made = client(service)
        made.meta.events.register_last(f"before-call.{service}.{operation}", refuse)
        return made

    with monkeypatch.context() as patch:
        patch.setattr(aws_lab, "client", refusing)
        with pytest.raises(RuntimeError, match=f"AWS does not delete {what}.*a few minutes"):
            aws_lab.catch_up("03")
    assert aws_lab.catch_up("03")  # continues from there


def test_a_teardown_keeps_resources_of_others(aws_lab: Lab) -> None:
    iot = outsider(aws_lab)
    iot.create_thing(thingName="theirs")
    aws_lab.catch_up("05-mqtt")
    assert aws_lab.ledger.has(ResourceKind.POLICY, "Test2Policy")
    done = aws_lab.ledger.tear_down()
    assert not any(step.result == "FAILED" for step in done.steps), repr(done)
    assert not aws_lab.ledger.has(ResourceKind.CERTIFICATE)
    assert [each["thingName"] for each in iot.list_things()["things"]] == ["theirs"]
    with pytest.raises(ClientError):
        iot.get_policy(policyName="Test2Policy")
    assert aws_lab.keys.things() == []


def test_wrong_credentials_are_explained(
    tmp_path: Path, aws_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-key")
    with pytest.raises(AwsError, match=r"AWS rejected a call \(\w+: .*clock"):
        open_aws(tmp_path)


def test_the_local_lab_ignores_aws_settings(aws_lab: Lab, home: Path) -> None:
    """The stand-in's settings are in the environment; this lab ignores them."""
    local = open_lab("local", home=home)
    assert local.target == "local"
    assert local.ca_file == supervisor.ca_path(home)
    assert local.client("iot").list_things()["things"] == []
    assert json.loads((home / "cloud" / "account.json").read_text())["account"] == local.account
    assert isinstance(local.keys.folder, Path)
    assert ThingFiles(local.keys.folder, local.ca_file).ca == local.ca_file
