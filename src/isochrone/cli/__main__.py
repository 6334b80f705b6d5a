"""`python -m isochrone.cli`, for where the `isochrone` script is not on the PATH."""

from isochrone.cli import main

if __name__ == "__main__":
    main()
