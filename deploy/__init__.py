"""Running the mesh elsewhere than from this folder; of these files only `check` is for import."""
