"""Bytes on local disk or in object storage: content-addressed blobs, and places for named files.

One setting chooses for both. The store owns bytes and nothing else: a blob is named by the BLAKE3 digest of its
content, a file appears whole or not at all. Every room above may use it; it knows none of them.
"""

from bascule.store.blobs import BlobStore, Stored, digest_of, open_store
from bascule.store.local import LocalStore
from bascule.store.places import ObjectPath, Place, open_place

__all__ = ["BlobStore", "LocalStore", "ObjectPath", "Place", "Stored", "digest_of", "open_place", "open_store"]
