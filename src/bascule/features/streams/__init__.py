"""Streams: events that keep coming, taken over once each, counted in tiles and kept for the lake.

    events     what a message must be, and many of them as columns
    log        what was taken over, durable, until the lake and the tiles have it
    applying   tiles in the online store, each event once
    rowwise    what a streamed view's query may be
    sources/   Kafka, a growing file, a table of the lake
    consuming  the loop: poll, log, count, land

It knows nothing of projects: what lands events in the lake is handed in. Only the rooms above call it.
"""
