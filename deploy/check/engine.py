"""Podman and Buildah, run so that they need nothing of the machine: no daemon, no systemd, no registry, a storage of
their own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

NEEDED = ("buildah", "podman", "podman-compose", "runc", "debootstrap", "iptables")

_CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"] # more than a machine without rights to raise them allows

[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"

[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""
_STORAGE_CONF = """\
[storage]
driver = "{driver}"
graphroot = "{folder}/storage"
runroot = "{folder}/run"
"""


class CheckFailed(Exception):
    """Something is not as it should be; in words."""


class Engine:
    """Runs commands on a storage in `folder`, which is kept from one check to the next."""

    def __init__(self, folder: Path, *, driver: str = "overlay") -> None:
        missing = [name for name in NEEDED if shutil.which(name) is None]
        if missing or os.geteuid() != 0:
            raise CheckFailed(f"it takes root, and apt-get install {' '.join(NEEDED)} netavark aardvark-dns")
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "containers.conf").write_text(_CONTAINERS_CONF.format(folder=self.folder))
        (self.folder / "storage.conf").write_text(_STORAGE_CONF.format(driver=driver, folder=self.folder))
        self._env = os.environ | {
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "BUILDAH_ISOLATION": "chroot",
            "DISABLE_HC_SYSTEMD": "true",  # health is asked for when it is wanted: there is nobody to set a timer
        }

    def run(self, *command: str, env: Mapping[str, str] | None = None, log: Path | None = None) -> str:
        """What it wrote to stdout; all of it goes to `log`, where one is given. Raises CheckFailed with its end."""
        code, said = self.tried(*command, env=env, log=log)
        if code:
            raise CheckFailed(f"{' '.join(command)}: exit code {code}\n" + "\n".join(said.splitlines()[-30:]))
        return said

    def tried(self, *command: str, env: Mapping[str, str] | None = None, log: Path | None = None) -> tuple[int, str]:
        """Its exit code, and what it wrote."""
        full = {**self._env, **(env or {})}
        if log is None:
            done = subprocess.run(command, capture_output=True, text=True, env=full, check=False)
            return done.returncode, done.stdout if done.returncode == 0 else done.stdout + done.stderr
        with log.open("w+") as file:
            code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=full, check=False).returncode
            file.seek(0)
            return code, file.read()

    def has(self, image: str) -> bool:
        return self.tried("podman", "image", "exists", image)[0] == 0

    def size_bytes(self, image: str) -> int:
        """Of the image's file systems, unpacked, those of its base among them."""
        return int(self.run("podman", "image", "inspect", "--format", "{{.Size}}", image))

    def build(self, dockerfile: Path, target: str, tag: str, *, context: Path, more: Sequence[str] = ()) -> None:
        """One target of a Dockerfile, as Docker's own format, which has health checks."""
        self.run(
            *("buildah", "bud", "--format", "docker", "--network", "host", "--layers", "--pull-never"),
            *("--file", str(dockerfile), "--target", target, "--tag", tag, *more, str(context)),
            log=self.folder / f"build-{tag.rpartition('/')[2].replace(':', '-')}.log",
        )
