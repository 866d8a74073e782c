"""Every table of a store. A module that brings further tables is imported here."""

from heedful.data.store import account_tables, wild_schema
from heedful.data.store.schema import metadata

EVERY = (metadata, account_tables.metadata)
"""Every group of tables, for whoever copies a whole store."""

__all__ = ["EVERY", "metadata", "wild_schema"]
