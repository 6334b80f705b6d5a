"""placeholder"""

EPILOG = ""


def demo() -> None:
    """Show it."""
