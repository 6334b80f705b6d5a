"""How fast the mesh is: measured in rounds that alternate with floors, on one machine. `python -m bench --help`."""
