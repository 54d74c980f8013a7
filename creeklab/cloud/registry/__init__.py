"""The registry: Things, certificates and policies, and what is attached to what.

Each module owns one kind of resource and its rules: which changes are refused, and with which
message (developer guide; AWS's own texts where they are known). `Registry` is their common front. A
change is one transaction, committed before the method returns. Lists are read one page at a time,
so ten thousand Things cost no memory.

Refusals are `ServiceError`, named as in the API reference.
"""

from __future__ import annotations

from collections.abc import Callable

from creeklab.cloud.account import AccountIdentity
from creeklab.cloud.policy import PolicyNeighborhood
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
    endpoint
        Host name by which devices reach the cloud.

    Attributes
    ----------
    authorization_listeners
        Called after each committed change that can affect what a connection is allowed to do: to
        a certificate, a policy, an attachment, a Thing or its groups.
    neighborhoods
        Cache of `creeklab.cloud.registry.authorizer.policy_neighborhood`.
    change_listeners
        Called with each `creeklab.cloud.registry.changes.Change` after it is committed.
    """

    def __init__(
        self,
        database: Database,
        ca: CertificateAuthority,
        identity: AccountIdentity,
        endpoint: str,
        clock: Callable[[], float],
    ) -> None:
        self.identity = identity
        self.endpoint = endpoint
        work = UnitOfWork(database, identity, clock)
        self.arn = work.arn
        self.parse_arn = work.parse_arn
        self.authorization_listeners = work.authorization_listeners
        self.change_listeners = work.change_listeners
        self.neighborhoods: dict[tuple[str, ...], PolicyNeighborhood] = {}
        self.authorization_listeners.append(self.neighborhoods.clear)
        self.account_settings = AccountSettings(work)
        self.tags = Tags(work)
        self.thing_types = ThingTypes(work, self.tags)
        self.things = Things(work, self.thing_types)
        self.groups = Groups(work, self.tags, self.things)
        self.certificates = Certificates(work, ca)
        self.thing_principals = ThingPrincipals(work, self.things, self.certificates)
        self.policies = Policies(work, self.tags)
        self.policy_attachments = PolicyAttachments(
            work, self.policies, self.certificates, self.groups
        )
        self.policy_context = PolicyContextQueries(
            work, self.things, self.certificates, self.policies
        )
        self.certificate_status = self.policy_context.certificate_status
        self.certificate_context = self.policy_context.certificate_context
        self.thing_context = self.policy_context.thing_context
        self.exclusive_thing = self.policy_context.exclusive_thing
        self.policies_of = self.policy_context.policies_of
