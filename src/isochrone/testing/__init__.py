"""For tests, the mesh's own and its users': toy models, and a whole mesh in one process."""
