"""File sets: directories of any size whose every version is an object in the history, `files/NAME`.

A version is a manifest, cut by content into segments that versions share, and its files are ranges of packs, blobs of
their own or lists of chunks, all named by their content in the workspace's store. A folder on disk is added and checked
out; files are read by path without either. The history knows only the object; this room knows what is behind it.
"""

from bascule.lake.filesets.adding import Adding
from bascule.lake.filesets.checkout import CheckedOut
from bascule.lake.filesets.comparing import FileChange, FilesDiff, compare
from bascule.lake.filesets.entries import KIND, PREFIX, Entry
from bascule.lake.filesets.fileset import FileSet, file_sets
from bascule.lake.filesets.manifest import Manifest, manifest_of
from bascule.lake.filesets.merging import merge
from bascule.lake.filesets.progress import Progress
from bascule.lake.filesets.querying import as_table
from bascule.lake.filesets.references import FilesReport, check, references
from bascule.lake.filesets.results import Added, FileInfo, FilesStatus

__all__ = [
    "KIND",
    "PREFIX",
    "Added",
    "Adding",
    "CheckedOut",
    "Entry",
    "FileChange",
    "FileInfo",
    "FileSet",
    "FilesDiff",
    "FilesReport",
    "FilesStatus",
    "Manifest",
    "Progress",
    "as_table",
    "check",
    "compare",
    "file_sets",
    "manifest_of",
    "merge",
    "references",
]
