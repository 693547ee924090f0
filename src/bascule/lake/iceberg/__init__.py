"""The Iceberg engine: reads and writes version 2 table metadata as plain dicts, and the files that it names.

It knows folders and files, nothing of branches or commits. Only the lake uses it; facts in a document that it does not
know are kept, so a newer engine's tables pass through it unharmed.
"""
