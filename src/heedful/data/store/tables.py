"""Every table of a store. A module that brings further tables is imported here."""

from heedful.data.store.schema import metadata

__all__ = ["metadata"]
