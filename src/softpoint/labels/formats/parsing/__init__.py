"""Pieces that several label readers share: rows, columns, JSON values, paths, and a sandbox for fragile libraries."""
