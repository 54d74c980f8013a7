"""The same history in a bucket, against a stand-in for S3 in this process."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import boto3
import pandas as pd
import pyarrow.dataset as ds
import pyarrow.fs
import pytest
from moto.server import ThreadedMotoServer

from creeklab.creek.history.history import History
from creeklab.creek.history.recorder import Recorder
from creeklab.creek.readings import samples

from .test_recorder import messages

FLOOD = samples.load("plumtree-run-flood-2018-08-31")
counter = itertools.count(1)
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture
def bucket(port: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket, and keys in the environment, as a person has them."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    name = f"creek-{next(counter)}"
    with closing(boto3.client("s3", "us-east-1", endpoint_url=f"http://127.0.0.1:{port}")) as s3:
        s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def uri(port: int, bucket: str) -> str:
    return f"s3://{bucket}/creek/history?region=us-east-1&scheme=http&endpoint_override=127.0.0.1:{port}"


@pytest.fixture
def system(port: int, bucket: str) -> pyarrow.fs.FileSystem:
    return pyarrow.fs.S3FileSystem(
        region="us-east-1", scheme="http", endpoint_override=f"127.0.0.1:{port}"
    )


def test_round_trip(uri: str) -> None:
    history = History(uri)
    assert history.things == []
    assert history.append("plumtree", FLOOD).new == 577
    back = History(uri).read("plumtree")
    pd.testing.assert_frame_equal(back, FLOOD, check_freq=False)
    assert back.attrs == FLOOD.attrs
    assert [len(month) for month in history.months()] == [144, 433]
    assert history.overview()["month"].tolist() == ["2018-08", "2018-09"]


def test_repeated_unordered_and_corrected_readings(uri: str) -> None:
    history = History(uri)
    for part in (FLOOD[300:], FLOOD[:350], FLOOD):
        history.append("a:b", part)
    pd.testing.assert_frame_equal(history.read("a:b"), FLOOD, check_freq=False)
    change = history.append("a:b", FLOOD[:1] + 1)
    assert change.replaced["was"].tolist() == FLOOD.iloc[0].tolist()


def test_a_file_system_with_its_own_options(
    port: int, bucket: str, system: pyarrow.fs.FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    History(f"{bucket}/creek", filesystem=system).append("plumtree", FLOOD)
    with closing(boto3.client("s3", "us-east-1", endpoint_url=f"http://127.0.0.1:{port}")) as s3:
        for item in s3.list_objects_v2(Bucket=bucket)["Contents"]:
            s3.put_object_acl(Bucket=bucket, Key=item["Key"], ACL="public-read")
    for name in KEYS:
        monkeypatch.delenv(name)
    anonymous = pyarrow.fs.S3FileSystem(
        anonymous=True, region="us-east-1", scheme="http", endpoint_override=f"127.0.0.1:{port}"
    )
    back = History(f"s3://{bucket}/creek", filesystem=anonymous).read()
    pd.testing.assert_frame_equal(back, FLOOD, check_freq=False)


def test_the_name_shows_no_keys() -> None:
    history = History("s3://id:word@creek/history?region=us-east-1")
    assert repr(history) == "History in s3://creek/history"


def test_a_recorder_uses_a_local_journal(uri: str, tmp_path: Path) -> None:
    sent = messages(FLOOD)
    with Recorder(History(uri), "Test2", journal=tmp_path, every=None) as recorder:
        recorder.record(sent[:300])
        recorder.record(sent[200:])
    assert (recorder.new, recorder.known) == (577, 100)
    pd.testing.assert_frame_equal(History(uri).read(), FLOOD, check_freq=False)


def test_recording_continues_while_the_bucket_is_unreachable(
    uri: str, port: int, bucket: str, tmp_path: Path
) -> None:
    away = History(uri.replace(bucket, "no-such-bucket"))
    sent = messages(FLOOD)
    recorder = Recorder(away, "Test2", journal=tmp_path, every=None)
    for message in sent[:100]:
        recorder.on_message(message)
    with pytest.raises(OSError, match=r"no-such-bucket"):
        recorder.close()
    with Recorder(History(uri), "Test2", journal=tmp_path, every=None) as again:
        again.record(sent[100:])
    pd.testing.assert_frame_equal(History(uri).read(), FLOOD, check_freq=False)


def test_compact_merges_foreign_files(uri: str, bucket: str, system: pyarrow.fs.FileSystem) -> None:
    history = History(uri)
    history.append("Test2", FLOOD[:100])
    month = f"{bucket}/creek/history/thing=Test2/month=2018-08"
    FLOOD[50:144].reset_index().to_parquet(f"{month}/part-0.parquet", filesystem=system)
    assert len(history.read()) == 144
    assert history.compact() == 1
    pd.testing.assert_frame_equal(history.read(), FLOOD[:144], check_freq=False)
    assert len(ds.dataset(f"{bucket}/creek/history", filesystem=system).files) == 1


class TestOtherPrograms:
    @pytest.fixture
    def path(self, uri: str, bucket: str) -> str:
        for part in (FLOOD[::2], FLOOD[1::2]):
            History(uri).append("Test2", part)
        History(uri).append("007", FLOOD[:10])
        return f"{bucket}/creek/history"

    def test_only_readings_are_in_the_bucket(
        self, path: str, system: pyarrow.fs.FileSystem
    ) -> None:
        found = system.get_file_info(pyarrow.fs.FileSelector(path, recursive=True))
        assert sorted(info.path.removeprefix(path) for info in found if info.is_file) == [
            "/thing=007/month=2018-08/readings.parquet",
            "/thing=Test2/month=2018-08/readings.parquet",
            "/thing=Test2/month=2018-09/readings.parquet",
        ]

    def test_pyarrow(self, path: str, system: pyarrow.fs.FileSystem) -> None:
        dataset = ds.dataset(path, filesystem=system, partitioning="hive")
        assert dataset.schema.names[-2:] == ["thing", "month"]
        table = dataset.to_table(
            filter=(ds.field("thing") == "Test2") & (ds.field("month") == "2018-09")
        )
        assert table["stage_ft"].to_pylist() == FLOOD["stage_ft"][144:].tolist()

    def test_pandas(self, path: str, system: pyarrow.fs.FileSystem) -> None:
        frame = pd.read_parquet(path, filesystem=system, filters=[("thing", "==", "Test2")])
        assert frame["time"].tolist() == FLOOD.index.tolist()
        assert frame["stage_ft"].tolist() == FLOOD["stage_ft"].tolist()
