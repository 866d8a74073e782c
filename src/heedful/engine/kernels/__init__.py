"""Compiled kernels: each has a torch twin that gives the same numbers up to rounding and is used without it."""
