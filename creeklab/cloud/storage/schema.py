"""The base schema: the tables of the broker, the registry and the shadows, as migrations."""

from __future__ import annotations

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE things (
            name TEXT PRIMARY KEY,
            id TEXT NOT NULL,
            version INTEGER NOT NULL,
            attributes TEXT NOT NULL  -- a JSON object of strings
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE certificates (
            number INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of creation
            id TEXT NOT NULL UNIQUE,
            pem TEXT NOT NULL,
            status TEXT NOT NULL,
            generation TEXT NOT NULL,
            created REAL NOT NULL,
            modified REAL NOT NULL,
            not_before REAL NOT NULL,
            not_after REAL NOT NULL
        )
        """,
        """
        CREATE TABLE thing_principals (
            thing TEXT NOT NULL REFERENCES things (name),
            certificate TEXT NOT NULL REFERENCES certificates (id),
            type TEXT NOT NULL,
            PRIMARY KEY (thing, certificate)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX things_of_principal ON thing_principals (certificate, thing)",
        """
        CREATE TABLE policies (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            default_version INTEGER NOT NULL,
            last_version INTEGER NOT NULL,  -- numbers of deleted versions are not used again
            generation TEXT NOT NULL,
            created REAL NOT NULL,
            modified REAL NOT NULL
        )
        """,
        """
        CREATE TABLE policy_versions (
            policy TEXT NOT NULL REFERENCES policies (name) ON DELETE CASCADE,
            version INTEGER NOT NULL,
            document TEXT NOT NULL,
            created REAL NOT NULL,
            PRIMARY KEY (policy, version)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE policy_attachments (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            policy TEXT NOT NULL REFERENCES policies (name),
            certificate TEXT NOT NULL REFERENCES certificates (id),
            UNIQUE (policy, certificate)
        )
        """,
        "CREATE INDEX policies_of_certificate ON policy_attachments (certificate)",
        """
        CREATE TABLE shadows (
            thing TEXT NOT NULL,
            name TEXT NOT NULL,  -- '' is the classic shadow
            document TEXT NOT NULL,
            version INTEGER NOT NULL,
            deleted_at REAL,  -- set in a tombstone, which keeps the version of a deleted shadow
            PRIMARY KEY (thing, name)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE retained (
            topic TEXT PRIMARY KEY,
            payload BLOB NOT NULL,
            qos INTEGER NOT NULL,
            properties TEXT NOT NULL,
            modified REAL NOT NULL
        )
        """,
    ),
    (
        """
        CREATE TABLE thing_types (
            name TEXT PRIMARY KEY,
            id TEXT NOT NULL,
            properties TEXT NOT NULL,  -- a JSON object, as it was given
            created REAL NOT NULL,
            deprecated REAL  -- time of deprecation, if it is deprecated
        ) WITHOUT ROWID
        """,
        "ALTER TABLE things ADD COLUMN type TEXT REFERENCES thing_types (name)",
        "CREATE INDEX things_of_type ON things (type, name) WHERE type IS NOT NULL",
        """
        CREATE TABLE thing_groups (
            name TEXT PRIMARY KEY,
            id TEXT NOT NULL,
            parent TEXT REFERENCES thing_groups (name),
            version INTEGER NOT NULL,
            description TEXT,
            attributes TEXT NOT NULL,  -- a JSON object of strings
            created REAL NOT NULL
        ) WITHOUT ROWID
        """,
        "CREATE INDEX children_of_group ON thing_groups (parent, name) WHERE parent IS NOT NULL",
        """
        CREATE TABLE group_members (
            thing TEXT NOT NULL REFERENCES things (name) ON DELETE CASCADE,
            thing_group TEXT NOT NULL REFERENCES thing_groups (name) ON DELETE CASCADE,
            id TEXT NOT NULL,
            PRIMARY KEY (thing, thing_group)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX things_of_group ON group_members (thing_group, thing)",
        # A policy can be attached to a thing group as well.
        "ALTER TABLE policy_attachments RENAME TO old_attachments",
        "DROP INDEX policies_of_certificate",
        """
        CREATE TABLE policy_attachments (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            policy TEXT NOT NULL REFERENCES policies (name),
            certificate TEXT REFERENCES certificates (id),
            thing_group TEXT REFERENCES thing_groups (name) ON DELETE CASCADE,
            UNIQUE (policy, certificate),
            UNIQUE (policy, thing_group),
            CHECK ((certificate IS NULL) <> (thing_group IS NULL))
        )
        """,
        """
        INSERT INTO policy_attachments (number, policy, certificate)
            SELECT number, policy, certificate FROM old_attachments
        """,
        "DROP TABLE old_attachments",
        "CREATE INDEX policies_of_certificate ON policy_attachments (certificate)",
        "CREATE INDEX policies_of_group ON policy_attachments (thing_group)",
        "ALTER TABLE certificates ADD COLUMN mode TEXT NOT NULL DEFAULT 'DEFAULT'",
        # Signed by another authority.
        "ALTER TABLE certificates ADD COLUMN brought INTEGER NOT NULL DEFAULT 0",
        """
        CREATE TABLE tags (
            kind TEXT NOT NULL,  -- of the resource, as in its ARN
            name TEXT NOT NULL,
            key TEXT NOT NULL,
            value TEXT NOT NULL,
            PRIMARY KEY (kind, name, key)
        ) WITHOUT ROWID
        """,
        # A re-created resource must not inherit the old tags.
        *(
            f"CREATE TRIGGER untag_{kind} AFTER DELETE ON {table} BEGIN "
            f"DELETE FROM tags WHERE kind = '{kind}' AND name = OLD.name; END"
            for kind, table in (
                ("policy", "policies"),
                ("thinggroup", "thing_groups"),
                ("thingtype", "thing_types"),
            )
        ),
        """
        CREATE TABLE options (
            name TEXT PRIMARY KEY,
            value TEXT NOT NULL,  -- JSON
            created REAL NOT NULL,
            modified REAL NOT NULL
        ) WITHOUT ROWID
        """,
    ),
    (
        """
        CREATE TABLE sessions (  -- that outlive their connections
            number INTEGER PRIMARY KEY,
            client_id TEXT NOT NULL,
            version INTEGER NOT NULL,  -- 4 is MQTT 3.1.1, 5 is MQTT 5
            principal TEXT NOT NULL,
            expiry INTEGER NOT NULL,  -- seconds
            ends_at REAL,  -- NULL while the client is connected
            subscriptions TEXT NOT NULL  -- a JSON list of lists
        )
        """,
        """
        CREATE TABLE messages (  -- that are queued for sessions
            number INTEGER PRIMARY KEY,
            topic TEXT NOT NULL,
            payload BLOB NOT NULL,
            properties TEXT NOT NULL,
            expires_at REAL
        )
        """,
        """
        CREATE TABLE queued (  -- messages of each session, in order of position
            session INTEGER NOT NULL,
            position INTEGER NOT NULL,
            message INTEGER NOT NULL,
            retain INTEGER NOT NULL,
            shared TEXT NOT NULL,  -- filter of its shared subscription, or ''
            PRIMARY KEY (session, position)
        ) WITHOUT ROWID
        """,
        # The first schema stored it among the properties.
        "ALTER TABLE retained ADD COLUMN expires_at REAL",
        """
        UPDATE retained SET
            expires_at = json_extract(properties, '$.expires_at'),
            properties = json_extract(properties, '$.properties')
        """,
    ),
    ("ALTER TABLE certificates RENAME COLUMN brought TO external",),
    # The targets of a policy in the order of their attachment, without sorting all of them.
    ("CREATE INDEX targets_of_policy ON policy_attachments (policy)",),
)
