"""Memory that the process keeps instead of handing it back to the system between steps. No torch: it comes first."""

import ctypes
import sys

# Parameters of glibc's mallopt (malloc.h).
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_heap() -> bool:
    """Let glibc reuse freed buffers of any size; True where that took effect.

    By default every buffer of more than 32 MiB is mapped anew and unmapped when it is freed, so each step pays for
    the page faults and the zeroing of its logits and large activations. What is kept can fall into holes that the
    next buffer does not fit into: `release` now and then bounds that. Huge pages (torch's THP_MEM_ALLOC_ENABLE) are
    left as they are: on top of this they cost system time and saved none. On musl, macOS and Windows nothing changes.
    """
    libc = _glibc()
    return libc is not None and bool(libc.mallopt(_MMAP_MAX, 0) and libc.mallopt(_TRIM_THRESHOLD, -1))


def release() -> None:
    """Hand freed memory back to the system, where glibc is."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
