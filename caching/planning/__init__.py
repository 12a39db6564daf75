"""Finds, before a run, which of its evaluations to compute: points, then windows, then the search."""
