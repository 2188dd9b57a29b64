"""Pieces that several label readers share."""
