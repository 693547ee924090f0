"""What `forget` removes beside a table's rows: files, quarantined lines, samples in reports, old pages and caches.

Each module owns one place. `project/forgetting.py` calls them in order; other rooms join through
`bascule.lake.forgetting.forgetters`.
"""
