"""Contextual panels: the materials that a passage is written from, as records, text and JSON; no torch, no files."""

from heedful.panels.panel import FIELDS, Entry, Panel

__all__ = ["FIELDS", "Entry", "Panel"]
