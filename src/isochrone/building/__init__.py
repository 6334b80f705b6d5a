"""Making models and knowing them again: what a service's builds have in common.

manifest.py     what a built folder says of itself, and whether it is what would be built now
publish.py      putting a built folder in place whole, or not at all
making.py       what a build is, how it goes and what comes of it; needs rich
repeatable.py   the same numbers every time; needs torch
"""
