"""The registry: Things, certificates, policies, and what is attached to what.

Each room has one kind of thing and its rules: which change is refused and in which words
(developer guide; AWS's own texts where they are known). Here is the common front. A change is one
transaction, committed before the method returns. Lists are read a page at a time, so ten thousand
Things cost no memory.

Refusals are `ServiceError`, named as in the API reference.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from creeklab.cloud.registry.account_settings import AccountSettings
from creeklab.cloud.registry.certificates import Certificates
from creeklab.cloud.registry.groups import Groups
from creeklab.cloud.registry.policies import Policies
from creeklab.cloud.registry.policy_attachments import PolicyAttachments
from creeklab.cloud.registry.policy_context import PolicyContextQueries
from creeklab.cloud.registry.tags import Tags
from creeklab.cloud.registry.thing_principals import ThingPrincipals
from creeklab.cloud.registry.thing_types import ThingTypes
from creeklab.cloud.registry.things import Things
from creeklab.cloud.registry.unit_of_work import UnitOfWork
from creeklab.cloud.security.ca import CertificateAuthority
from creeklab.cloud.storage.database import Database


class Registry:
    """The registry of one account.

    Parameters
    ----------
    account, region, partition
        What the account's ARNs are made of.
    endpoint
        Host name under which devices reach the cloud.
    clock
        Seconds since the epoch.

    Attributes
    ----------
    listeners
        Called after each committed change that can alter what a connection may do: to a
        certificate, a policy, an attachment, a Thing or its groups.
    watchers
        Called with each piece of `creeklab.cloud.registry.changes`, once it is committed.
    """

    def __init__(
        self,
        store: Database,
        ca: CertificateAuthority,
        *,
        account: str,
        region: str,
        endpoint: str,
        partition: str = "aws",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.account = account
        self.region = region
        self.endpoint = endpoint
        books = UnitOfWork(store, account=account, region=region, partition=partition, clock=clock)
        self.arn = books.arn
        self.parts = books.parse_arn
        self.listeners = books.listeners
        self.watchers = books.watchers
        self.options = AccountSettings(books)
        self.tags = Tags(books)
        self.thing_types = ThingTypes(books, self.tags)
        self.things = Things(books, self.thing_types)
        self.groups = Groups(books, self.tags, self.things)
        self.certificates = Certificates(books, ca)
        self.principals = ThingPrincipals(books, self.things, self.certificates)
        self.policies = Policies(books, self.tags)
        self.targets = PolicyAttachments(books, self.policies, self.certificates, self.groups)
        self.rights = PolicyContextQueries(books, self.things, self.certificates, self.policies)
        self.certificate_status = self.rights.certificate_status
        self.certificate_context = self.rights.certificate_context
        self.thing_context = self.rights.thing_context
        self.exclusive_thing = self.rights.exclusive_thing
        self.policies_of = self.rights.policies_of
