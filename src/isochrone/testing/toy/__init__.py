"""A service of toy models, run like any other: `python -m isochrone.testing.toy`."""
