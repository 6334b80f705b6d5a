"""`make compose-check`: builds the images and runs deploy/compose.yaml, on a machine that may have no container engine
and no registry."""
