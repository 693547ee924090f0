"""Content-addressed blobs on local disk or object storage.

The store owns bytes and nothing else: a blob is named by the BLAKE3 digest of its content, is written whole or not at
all, and is never changed. Every room above may use it; it knows none of them.
"""

from bascule.store.blobs import BlobStore, Stored, digest_of, open_store
from bascule.store.local import LocalStore

__all__ = ["BlobStore", "LocalStore", "Stored", "digest_of", "open_store"]
