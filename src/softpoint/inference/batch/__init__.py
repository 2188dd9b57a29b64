"""Predicting whole sources: a journal on disk first, and every file that is asked for made from it."""
