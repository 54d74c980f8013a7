"""The key files of a Thing: permissions, allowed folders, and that no key is ever lost."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from creeklab import Lab
from creeklab.client.key_files import KeyFiles, ThingFiles, certificate_id

Answers = tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def answers(session_lab: Lab) -> Answers:
    """Two certificates with their keys, as AWS returns them."""
    iot = session_lab.client("iot")
    return iot.create_keys_and_certificate(), iot.create_keys_and_certificate()


@pytest.fixture
def keys(tmp_path: Path) -> KeyFiles:
    return KeyFiles(tmp_path / "home" / "keys", tmp_path / "ca.pem")


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


# --- saving ---------------------------------------------------------------------------------------


def test_save_writes_what_aws_returned(keys: KeyFiles, answers: Answers, tmp_path: Path) -> None:
    answer = answers[0]
    files = keys.save("Test2", answer)
    assert files == keys.files("Test2") == ThingFiles(tmp_path / "home/keys/Test2", keys._ca)
    assert files.certificate.read_text() == answer["certificatePem"]
    assert files.private_key.read_text() == answer["keyPair"]["PrivateKey"]
    assert files.public_key.read_text() == answer["keyPair"]["PublicKey"]
    assert files.ca == tmp_path / "ca.pem"
    assert files.certificate_id == certificate_id(answer["certificatePem"])
    assert files.certificate_id == answer["certificateId"]
    assert names(files.folder) == ["certificate.pem.crt", "private.pem.key", "public.pem.key"]


@pytest.fixture(params=[0, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not have these modes")
def test_only_the_owner_can_read_the_key(keys: KeyFiles, answers: Answers, umask: int) -> None:
    for answer in answers:
        files = keys.save("Test2", answer)
    modes = {
        str(path.relative_to(keys.folder)): stat.S_IMODE(path.stat().st_mode)
        for path in [keys.folder, *keys.folder.rglob("*")]
    }
    earlier = f"Test2.was-{answers[0]['certificateId'][:10]}"
    assert modes.keys() >= {".", "Test2", earlier, "Test2/private.pem.key"}
    for name, mode in modes.items():
        if name.endswith(".key") and "private" in name:
            assert mode == 0o600, name
        elif name.endswith((".crt", ".key")):
            assert mode == 0o644 & ~umask, name
        else:
            assert mode == 0o700, name
    assert files.private_key.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not have these modes")
def test_saving_closes_an_open_key_folder(keys: KeyFiles, answers: Answers) -> None:
    keys.folder.mkdir(parents=True)
    keys.folder.chmod(0o755)
    keys.save("Test2", answers[0])
    assert stat.S_IMODE(keys.folder.stat().st_mode) == 0o700


def test_a_private_key_for_a_signing_request(lab: Lab, keys: KeyFiles) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    pem = request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    answer = lab.client("iot").create_certificate_from_csr(certificateSigningRequest=pem)
    own = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    with pytest.raises(ValueError, match="pass private_key="):
        keys.save("Test2", answer)
    assert not keys.folder.exists()
    files = keys.save("Test2", answer, private_key=own)
    assert files.private_key.read_text() == own
    assert not files.public_key.exists()
    assert files.certificate_id == answer["certificateId"]


def test_an_answer_without_a_key_is_rejected(keys: KeyFiles, answers: Answers) -> None:
    keys.save("Test2", answers[0])
    without = {name: value for name, value in answers[1].items() if name != "keyPair"}
    for answer in (without, {**without, "keyPair": {}}):
        with pytest.raises(ValueError, match="the answer contains no private key"):
            keys.save("Test2", answer)
    assert keys.files("Test2").certificate_id == answers[0]["certificateId"]


# --- allowed folders ------------------------------------------------------------------------------


@pytest.fixture(params=["folder", "file"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A git work tree; in a linked work tree and in a submodule ``.git`` is a file."""
    repository = tmp_path / "repository"
    (repository / "below").mkdir(parents=True)
    if request.param == "folder":
        (repository / ".git").mkdir()
    else:
        (repository / ".git").write_text("gitdir: elsewhere\n")
    return repository


@pytest.mark.parametrize("below", [".", "keys", "below/home/keys"])
def test_a_git_work_tree_is_refused_and_stays_clean(
    repository: Path, below: str, answers: Answers
) -> None:
    before = sorted(repository.rglob("*"))
    with pytest.raises(ValueError, match="is in the git work tree") as refusal:
        KeyFiles(repository / below, repository / "ca.pem").save("Test2", answers[0])
    assert str(repository) in str(refusal.value)
    assert "CREEKLAB_HOME" in str(refusal.value)
    assert sorted(repository.rglob("*")) == before


def test_a_relative_folder_is_resolved_from_the_working_directory(
    repository: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository / "below")
    with pytest.raises(ValueError, match="is in the git work tree") as refusal:
        KeyFiles(Path("keys"), Path("ca.pem")).save("Test2", answers[0])
    folder = Path("keys", "Test2")
    assert f"{folder} is in the git work tree {os.pardir}." in str(refusal.value)


@pytest.mark.parametrize("way", ["link", "not-yet/../repository/below"])
def test_links_and_dots_into_a_git_work_tree_are_refused(
    repository: Path, way: str, answers: Answers, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(repository / "below", target_is_directory=True)
    with pytest.raises(ValueError, match="is in the git work tree"):
        KeyFiles(tmp_path / way / "keys", tmp_path / "ca.pem").save("Test2", answers[0])
    assert list((repository / "below").iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../Test2",
        "a/b",
        "/tmp/Test2",
        "a\\b",
        "C:\\Test2",
        "a b",
        "a\n",
        "a\0",
        "é",
        "%3A",
        "Test2.new",
        "Test2.was-0123456789",
        "a" * 129,
    ],
    ids=repr,
)
def test_an_invalid_thing_name_is_rejected(keys: KeyFiles, name: str, answers: Answers) -> None:
    with pytest.raises(ValueError, match="is not a valid Thing name"):
        keys.save(name, answers[0])
    for use in (keys.files, keys.remove):
        with pytest.raises(ValueError, match="is not a valid Thing name"):
            use(name)
    assert not keys.folder.exists()


@pytest.mark.parametrize("name", ["Test2", "creek:elkhorn:1", ":", "-", "_", "a" * 128])
def test_every_valid_thing_name_has_a_folder(keys: KeyFiles, name: str, answers: Answers) -> None:
    files = keys.save(name, answers[0])
    assert files.folder.parent == keys.folder
    assert ":" not in files.folder.name  # Windows does not allow it
    assert keys.things() == [name]
    assert keys.files(name) == files


@pytest.mark.parametrize("order", [("Test2", "test2", "TEST2"), ("test2", "TEST2", "Test2")])
def test_names_that_differ_only_in_case_have_separate_folders(
    keys: KeyFiles, answers: Answers, order: tuple[str, ...]
) -> None:
    first, second = answers
    for name in order:
        keys.save(name, first)
    assert len({name.casefold() for name in names(keys.folder)}) == 3
    assert names(keys.folder)[0].casefold() == "test2" or order[0] in names(keys.folder)
    assert keys.things() == sorted(order)
    ids = {name: keys.files(name).certificate_id for name in order}
    keys.save(order[1], second)
    changed = {name for name in order if keys.files(name).certificate_id != ids[name]}
    assert changed == {order[1]}
    keys.remove(order[0])
    assert keys.things() == sorted(order[1:])
    keys.save(order[0], second)
    assert keys.things() == sorted(order)
    assert len({name.casefold() for name in names(keys.folder)}) == 4  # one is set aside


@pytest.mark.parametrize("name", ["con", "NUL", "Com1", "lpt9"])
def test_names_that_windows_reserves_have_another_folder(
    keys: KeyFiles, answers: Answers, name: str
) -> None:
    files = keys.save(name, answers[0])
    assert files.folder.name.startswith(f"{name}%")
    assert keys.things() == [name]
    assert keys.files(name) == files
    keys.remove(name)
    assert keys.things() == []


def test_a_folder_from_before_is_found(keys: KeyFiles, answers: Answers) -> None:
    keys.save("Test2", answers[0]).folder.rename(keys.folder / "con")
    assert keys.files("con").folder == keys.folder / "con"
    assert keys.things() == ["con"]


# --- nothing is lost ------------------------------------------------------------------------------


def test_an_earlier_certificate_is_kept_next_to_the_new_one(
    keys: KeyFiles, answers: Answers
) -> None:
    first, second = answers
    keys.save("a:b", first)
    files = keys.save("a:b", second)
    earlier = f"a%3Ab.was-{first['certificateId'][:10]}"
    assert files.private_key.read_text() == second["keyPair"]["PrivateKey"]
    assert names(keys.folder) == ["a%3Ab", earlier]
    kept = ThingFiles(keys.folder / earlier, files.ca)
    assert kept.private_key.read_text() == first["keyPair"]["PrivateKey"]
    assert keys.things() == ["a:b"]


def test_saving_the_same_files_repeatedly(keys: KeyFiles, answers: Answers) -> None:
    first, second = answers
    for answer in (first, first, second, first, first):
        files = keys.save("Test2", answer)
        assert files.certificate_id == answer["certificateId"]
    assert {name.partition(".")[0] for name in names(keys.folder)} == {"Test2"}
    assert any(name.endswith(second["certificateId"][:10]) for name in names(keys.folder))


def test_a_save_that_was_interrupted_does_not_stop_the_next(
    keys: KeyFiles, answers: Answers
) -> None:
    keys.save("Test2", answers[0])
    leftover = keys.folder / "Test2.new"
    leftover.mkdir()
    (leftover / "certificate.pem.crt").write_text("half a certifi")
    (leftover / "private.pem.key").write_text("half a k")
    assert keys.things() == ["Test2"]
    assert keys.files("Test2").certificate_id == answers[0]["certificateId"]
    keys.save("Test2", answers[1])
    assert keys.files("Test2").certificate_id == answers[1]["certificateId"]
    # A file that looks incomplete might contain a whole key, so it is kept too.
    earlier = f"Test2.was-{answers[0]['certificateId'][:10]}"
    assert earlier in names(keys.folder)
    kept = [path.read_text() for path in keys.folder.glob("Test2.was-*/private.pem.key")]
    assert "half a k" in kept
    assert not leftover.exists()


@pytest.mark.parametrize("damage", ["missing", "empty", "garbage"])
def test_damaged_files_do_not_stop_the_next_save(
    keys: KeyFiles, damage: str, answers: Answers
) -> None:
    certificate = keys.save("Test2", answers[0]).certificate
    if damage == "missing":
        certificate.unlink()
    else:
        certificate.write_text("" if damage == "empty" else "no certificate")
    files = keys.save("Test2", answers[1])
    assert files.certificate_id == answers[1]["certificateId"]
    kept = [file.read_text() for file in keys.folder.glob("*/private.pem.key")]
    assert answers[0]["keyPair"]["PrivateKey"] in kept


# --- finding and removing -------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["certificate", "private_key"])
def test_certificate_and_key_are_both_required(
    keys: KeyFiles, missing: str, answers: Answers
) -> None:
    files = keys.save("Test2", answers[0])
    getattr(files, missing).unlink()
    with pytest.raises(FileNotFoundError, match="no certificate and key for 'Test2'"):
        keys.files("Test2")


def test_nothing_saved(keys: KeyFiles) -> None:
    assert keys.things() == []
    with pytest.raises(FileNotFoundError, match=r"create_keys_and_certificate .*lab\.keys\.save"):
        keys.files("Test2")
    keys.remove("Test2")
    assert not keys.folder.exists()


def test_removing_affects_only_one_thing(keys: KeyFiles, answers: Answers) -> None:
    for thing in ("Test", "Test2"):
        for answer in answers:
            keys.save(thing, answer)
    keys.remove("Test")
    assert keys.things() == ["Test2"]
    assert all(name.startswith("Test2") for name in names(keys.folder))
    assert len(names(keys.folder)) == 2
    keys.remove("Test")
    keys.remove("Test2")
    assert names(keys.folder) == []


def test_removing_the_files_of_deleted_certificates_keeps_the_keys_of_others(
    keys: KeyFiles, answers: Answers
) -> None:
    for answer in answers[:2]:
        keys.save("Test2", answer)
    keys.remove("Test2", {answers[0]["certificateId"]})
    assert keys.things() == []
    assert list(keys.certificates().values()) == [answers[1]["certificateId"]]
    keys.save("Test2", answers[0])
    keys.remove("Test2", {answer["certificateId"] for answer in answers})
    assert names(keys.folder) == []


def test_removing_includes_the_rest_of_an_interrupted_save(keys: KeyFiles) -> None:
    leftover = keys.folder / "Test2.new"
    leftover.mkdir(parents=True)
    (leftover / "private.pem.key").write_text("a key")
    keys.remove("Test2")
    assert names(keys.folder) == []
