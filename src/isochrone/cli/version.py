"""`isochrone version`: what is installed here."""

from __future__ import annotations

from isochrone.cli.screen import out

_OF_INTEREST = ("grpcio", "protobuf", "redis", "uvloop", "onnxruntime", "torch")


def version() -> None:
    """Say which version this is, and of the libraries it stands on."""
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    def of(package: str) -> str:
        try:
            return installed(package)
        except PackageNotFoundError:
            return "not installed"

    out.print(f"isochrone {of('isochrone')}, Python {platform.python_version()}")
    for package in _OF_INTEREST:
        out.print(f"  {package:<12} {of(package)}")
