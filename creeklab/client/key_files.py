"""The certificate and key files of a Thing on disk.

The private key is the identity of the Thing: anyone who has the file can connect as the Thing. So
only its owner can open the folder and read the file, and it is never inside a git repository, where
it would sooner or later be published.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import ssl
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from creeklab.home import refuse_git_work_tree
from creeklab.resources.similar_name import did_you_mean

# macOS and Windows ignore case, and Windows reserves the names of its devices. The folder of such a
# Thing ends with the hash of its name.
_SUFFIX = re.compile("%[0-9a-f]{8}$")
_RESERVED_NAMES = {
    *("con", "prn", "aux", "nul"),
    *(f"{port}{number}" for port in ("com", "lpt") for number in range(10)),
}
THING_NAME = re.compile(r"[a-zA-Z0-9:_-]{1,128}")


@dataclass(frozen=True, slots=True)
class ThingFiles:
    """The PEM files of one Thing, named as the console names its downloads.

    The CA certificates in `ca` verify the server.
    """

    folder: Path
    ca: Path

    @property
    def certificate(self) -> Path:
        """The device certificate."""
        return self.folder / "certificate.pem.crt"

    @property
    def private_key(self) -> Path:
        """The private key: never show, mail, or commit it."""
        return self.folder / "private.pem.key"

    @property
    def public_key(self) -> Path:
        """The public key."""
        return self.folder / "public.pem.key"

    @property
    def certificate_id(self) -> str:
        """The ID of the certificate on AWS: the SHA-256 of its DER form, in hex."""
        return certificate_id(self.certificate.read_text())

    def check(self) -> None:
        """Check that the certificate and the private key are readable and belong together.

        Raises
        ------
        ValueError
            If not; the message names the faulty file.
        """
        # Imported here because neither opening the lab nor connecting needs it.
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from cryptography.x509 import load_pem_x509_certificate

        try:
            certificate = load_pem_x509_certificate(self.certificate.read_bytes())
        except ValueError:
            raise ValueError(f"{self.certificate.name} does not contain a certificate.") from None
        try:
            key = load_pem_private_key(self.private_key.read_bytes(), None)
        except (ValueError, TypeError):
            raise ValueError(f"{self.private_key.name} does not contain a private key.") from None
        if key.public_key() != certificate.public_key():
            raise ValueError(
                "the private key on disk does not belong to the certificate. Create a new pair."
            )


class KeyFiles:
    """The key folder of one lab.

    Parameters
    ----------
    folder
        Contains one folder for each Thing; created with the first.
    ca
        The CA file that every Thing of this lab trusts.
    """

    def __init__(self, folder: Path, ca: Path) -> None:
        self.folder = folder
        self._ca = ca

    def save(
        self, thing: str, answer: Mapping[str, Any], *, private_key: str | None = None
    ) -> ThingFiles:
        """Save the certificate and keys that AWS returned; AWS never returns the key again.

        The files of an earlier certificate stay next to the new ones, in a folder named after it.

        Parameters
        ----------
        answer
            The answer to ``create_keys_and_certificate`` or ``create_certificate_from_csr``.
        private_key
            PEM of the key for a certificate from a signing request, which AWS never has.

        Raises
        ------
        ValueError
            If the folder is in a git work tree, the name is not valid, or there is no key.
        """
        folder = self._folder(thing)
        refuse_git_work_tree(folder)
        pair = answer.get("keyPair", {})
        key = private_key or pair.get("PrivateKey")
        if not key:
            raise ValueError(
                f"Cannot save the files of '{thing}': the answer contains no private key. AWS "
                "returns it only once, when it creates the keys. If you used a signing request, "
                "pass private_key= with your own key."
            )
        files = ThingFiles(folder.with_name(folder.name + ".new"), self._ca)
        if files.folder.exists():  # an earlier call was interrupted
            _set_aside(files.folder, folder.name)
        files.folder.mkdir(mode=0o700, parents=True)
        self.folder.chmod(0o700)
        _write(files.certificate, answer["certificatePem"], 0o644)
        if "PublicKey" in pair:
            _write(files.public_key, pair["PublicKey"], 0o644)
        _write(files.private_key, key, 0o600)
        if folder.exists():
            _set_aside(folder, folder.name)
        files.folder.rename(folder)
        return ThingFiles(folder, self._ca)

    def files(self, thing: str) -> ThingFiles:
        """Return the paths of the files of `thing`.

        Raises
        ------
        FileNotFoundError
            If its files are not saved here.
        """
        files = ThingFiles(self._folder(thing), self._ca)
        if not (files.certificate.exists() and files.private_key.exists()):
            raise FileNotFoundError(
                f"Found no certificate and key for '{thing}' in {self.folder}."
                f"{did_you_mean(thing, self.things())} Create them with "
                "create_keys_and_certificate and save the answer with lab.keys.save."
            )
        return files

    def things(self) -> list[str]:
        """Return the names of the Things that have files here."""
        if not self.folder.exists():
            return []
        names = (
            _SUFFIX.sub("", folder.name).replace("%3A", ":") for folder in self.folder.iterdir()
        )
        return sorted(name for name in names if THING_NAME.fullmatch(name))

    def certificates(self) -> dict[Path, str]:
        """Return the ID of the certificate in each folder, including those set aside."""
        found = {}
        for folder in self.folders():
            with contextlib.suppress(OSError, ValueError):
                found[folder] = ThingFiles(folder, self._ca).certificate_id
        return found

    def folders(self, thing: str | None = None) -> list[Path]:
        """Return the folders of `thing`, or of all Things, including those set aside."""
        folders = sorted(self.folder.iterdir()) if self.folder.exists() else []
        if thing is None:
            return folders
        name = self._folder(thing).name
        return [each for each in folders if each.name.partition(".")[0] == name]

    def remove(self, thing: str, deleted: Container[str] | None = None) -> None:
        """Remove the files of `thing`, including those of its earlier certificates.

        Parameters
        ----------
        deleted
            IDs of deleted certificates: remove only their files and set the others aside, because
            their keys might still work. None removes all.
        """
        known = self.certificates()
        current = self._folder(thing)
        for folder in self.folders(thing):
            if deleted is None or known.get(folder, "") in deleted:
                shutil.rmtree(folder)
            elif folder == current:
                _set_aside(folder, folder.name)

    def clear(self) -> None:
        """Remove the files of every Thing."""
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _folder(self, thing: str) -> Path:
        if not THING_NAME.fullmatch(thing):
            raise ValueError(
                f"'{thing}' is not a valid Thing name. Use only letters, digits, ':', '_' and "
                "'-', at most 128 characters."
            )
        plain = thing.replace(":", "%3A")
        present = [each.name for each in self.folder.iterdir()] if self.folder.exists() else []
        distinct = f"{plain}%{hashlib.sha256(thing.encode()).hexdigest()[:8]}"
        others = {_SUFFIX.sub("", name.partition(".")[0]) for name in present} - {plain}
        collides = plain.casefold() in _RESERVED_NAMES | {name.casefold() for name in others}
        if plain not in present and (distinct in present or collides):
            return self.folder / distinct
        return self.folder / plain


def certificate_id(pem: str) -> str:
    """Return the ID that AWS gives a certificate: the SHA-256 of its DER form, in hex."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def _set_aside(folder: Path, name: str) -> None:
    """Rename a folder, because a private key must never be deleted to make room."""
    try:
        old = ThingFiles(folder, folder).certificate_id[:10]
    except (OSError, ValueError):
        old = "unknown"
    number, target = 1, folder.with_name(f"{name}.was-{old}")
    while target.exists():
        number += 1
        target = folder.with_name(f"{name}.was-{old}-{number}")
    folder.rename(target)


def _write(file: Path, text: str, mode: int) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as stream:
        stream.write(text)
