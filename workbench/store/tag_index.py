"""A database index of runs by key and kind. MLflow has no such index and ignores this one.

It takes 150 bytes a run. It is partial, because other tags have values that are too long for an
index of PostgreSQL.
"""

from __future__ import annotations

from workbench.store.runs import KEY, KIND

TAG_INDEX = "workbench_tags"
INDEXED = (KEY, KIND)
#: For SQLite and PostgreSQL.
CREATE_TAG_INDEX = (
    f"CREATE INDEX IF NOT EXISTS {TAG_INDEX} ON tags (key, value, run_uuid) WHERE "
    + " OR ".join(f"key = '{name}'" for name in INDEXED)
)
