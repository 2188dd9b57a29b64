"""Data sets packed into shards that litdata writes and reads, from a folder or from an object store.

A set may come from a stranger. A sample is the bytes of an image file and its labels as JSON; an index that names any
other kind of field, which could make litdata unpickle, is refused before a shard is opened.
"""
