"""Sets packed into a few large files, in litdata's layout, to be streamed from where they lie.

A set may come from a stranger. Only the fields of `Sample` are read, each in its one layout and without litdata, which
could be led to unpickle; litdata writes sets and fetches files.
"""
