from __future__ import annotations

from tests.support.databases import database, database_url, migrated  # noqa: F401 - fixtures
