"""Workers that run in other virtual environments, where heedful is not installed.

They import the standard library, torch and the library that they measure, and one another by relative imports:
with `heedful/bench` on the path they are the top-level package `peers`.
"""
