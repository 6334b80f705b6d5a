"""The vision service: a small network that names and compares goods on photos, and the build that makes it."""
