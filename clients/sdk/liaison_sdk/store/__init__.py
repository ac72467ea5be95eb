"""The client's store: the truth about every channel, shared by all its processes.

`base` has the seam, `sqlite` the implementation, and each of the other modules
the functions of one table. A step that encrypts, receives or changes a group
is one function that runs inside one exclusive transaction; what it returns is
durable, what it raises has changed nothing.
"""

from liaison_sdk.store.base import Store, Transaction
from liaison_sdk.store.sqlite import SQLiteStore

__all__ = ["SQLiteStore", "Store", "Transaction"]
