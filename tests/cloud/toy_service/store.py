from creeklab.cloud.storage.database import Database

MIGRATIONS = (
    ("CREATE TABLE toy_requests (number INTEGER PRIMARY KEY, thing TEXT NOT NULL)",),
    ("ALTER TABLE toy_requests ADD COLUMN client_id TEXT NOT NULL DEFAULT ''",),
)


class RequestStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, thing: str, client_id: str) -> None:
        with self._database.transaction() as db:
            db.execute(
                "INSERT INTO toy_requests (thing, client_id) VALUES (?, ?)", (thing, client_id)
            )

    def numbers(self, thing: str) -> list[int]:
        rows = self._database.execute("SELECT number FROM toy_requests WHERE thing = ?", (thing,))
        return [row["number"] for row in rows]

    def clients(self) -> list[str]:
        rows = self._database.execute("SELECT DISTINCT client_id FROM toy_requests")
        return [row["client_id"] for row in rows]
