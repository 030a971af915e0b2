"""In-Memory: the memory of this node, shared by all its worker processes."""

from __future__ import annotations

from sessionpersist.stores.memory.store import MemoryStore, trouble_of_memory, try_memory

__all__ = ["MemoryStore", "trouble_of_memory", "try_memory"]
