"""Where pipeline.py keeps its pages: a file of sqlite's.

What is in it is all the truth about what is stored. A page is there with all of its links, or not at
all.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import closing

SCHEMA = """
    CREATE TABLE IF NOT EXISTS pages (page TEXT PRIMARY KEY, body TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS links (page TEXT NOT NULL REFERENCES pages, target TEXT NOT NULL);
"""


def store(file: str, page: str, body: str, links: Iterable[str]) -> None:
    """Store a page in one transaction; from any thread, since the connection is its own."""
    with closing(sqlite3.connect(file)) as db, db:  # the second `db` commits, or rolls back
        db.execute("INSERT INTO pages VALUES (?, ?)", (page, body))
        db.executemany("INSERT INTO links VALUES (?, ?)", [(page, link) for link in links])


def read_stored(file: str) -> set[str]:
    """Which pages are in a file; one that is not there is made."""
    with closing(sqlite3.connect(file)) as db:
        db.executescript(SCHEMA)
        return {page for (page,) in db.execute("SELECT page FROM pages")}
