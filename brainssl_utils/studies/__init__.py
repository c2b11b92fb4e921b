"""A study: a grid of trainings and readings of them, written in one file, run here or on a Dask cluster, and shown."""
