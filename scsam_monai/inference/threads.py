"""Threads that work beside the network."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor


def one_thread(name: str) -> ThreadPoolExecutor:
    """Return one thread, which does what it is given in order; ``name`` tells what for."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"scsam-{name}")
