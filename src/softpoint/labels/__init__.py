"""Keypoint labels: the schema, loading, validation and splits."""
