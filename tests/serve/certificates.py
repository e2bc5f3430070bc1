"""Certificates and a token file of one test run, made by the openssl command."""

import hashlib
import subprocess
from pathlib import Path

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650")


class Authority:
    """Signs certificates for this machine."""

    def __init__(self, folder: Path) -> None:
        """Make the authority's own in the folder."""
        self.folder = folder
        self.ca = folder / "ca.pem"
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")  # Python 3.13 asks for it
        _openssl(*KEY, *usage, "-keyout", folder / "ca.key", "-out", self.ca, "-subj", "/CN=tests")

    def issue(self, name: str) -> tuple[Path, Path]:
        """Return the files of a new certificate for localhost and of its key."""
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        signed = ("-CA", self.ca, "-CAkey", self.folder / "ca.key")
        extensions = ("subjectAltName=DNS:localhost,IP:127.0.0.1", "basicConstraints=critical,CA:FALSE")
        _openssl(*KEY, *signed, "-keyout", key, "-out", certificate, "-subj", f"/CN={name}",
                 *(word for extension in extensions for word in ("-addext", extension)))  # fmt: skip
        return certificate, key


def token_line(name: str, roles: str, token: str) -> str:
    """A line of a token file."""
    return f"{name} {roles} {hashlib.sha256(token.encode()).hexdigest()}\n"


def _openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", "req", "-x509", *words], check=True, capture_output=True)
