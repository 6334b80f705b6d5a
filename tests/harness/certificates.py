"""Certificates for tests, in a folder: of one CA or another, valid now or never again."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from isochrone.certificates import today
from isochrone.client import Tls
from isochrone.issuing import Authority, write

from .parts import MESH

LOCAL = ("localhost", "127.0.0.1", "::1")
DAY = timedelta(days=1)


class Certificates:
    """A CA, `ca.crt`, and what was made of it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self._authority = Authority.made(f"CA of {folder.name}", now=today() - 400 * DAY, lifetime=4000 * DAY)
        write(folder, "ca", self._authority.certificate, self._authority.key)

    def __getitem__(self, name: str) -> Path:
        return self.folder / name

    def make(self, name: str, *hosts: str, began_days_ago: int = 0, days: int = 90) -> None:
        """`name`.crt and .key, in place of what was there."""
        issued = self._authority.issue(name, hosts, begins=today() - began_days_ago * DAY, lifetime=days * DAY)
        write(self.folder, name, *issued)

    def expired(self, name: str, *hosts: str) -> None:
        """Since ten days ago."""
        self.make(name, *hosts, began_days_ago=100)

    def give_ca(self, to: Certificates) -> None:
        """Has another folder's believers believe this CA, and not theirs."""
        new = to["ca.new"]
        new.write_bytes(self["ca.crt"].read_bytes())
        new.replace(to["ca.crt"])

    def mesh_tls(self, name: str = "mesh") -> dict[str, Any]:
        """As the file has it."""
        return {"certificate": str(self[f"{name}.crt"]), "key": str(self[f"{name}.key"]), "ca": str(self["ca.crt"])}

    def server_tls(self, name: str = "router", *, clients: str = "none") -> dict[str, Any]:
        """As the file has it."""
        tls = {"certificate": str(self[f"{name}.crt"]), "key": str(self[f"{name}.key"]), "clients": clients}
        return tls if clients == "none" else tls | {"client_ca": str(self["ca.crt"])}

    def caller(self, name: str | None = None, *, server: str | None = None) -> Tls:
        """A client that believes this CA, and shows that certificate."""
        if name is None:
            return Tls(ca=self["ca.crt"], name=server)
        return Tls(ca=self["ca.crt"], certificate=self[f"{name}.crt"], key=self[f"{name}.key"], name=server)


def certificates(folder: Path) -> Certificates:
    """With a mesh's and a router's."""
    made = Certificates(folder)
    made.make("mesh", MESH)
    made.make("router", *LOCAL)
    return made
