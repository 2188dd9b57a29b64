"""Predicting whole sources: a journal on disk first, and every requested file made from it."""
