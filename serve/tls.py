"""TLS for both ends: certificates from files, which may be replaced while the server runs."""

import ipaddress
import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from serve.errors import StartError

_log = logging.getLogger("serve")


def is_loopback(host: str) -> bool:
    """Whether that host is reached from this machine alone, so that there is nobody to hide from."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class ServerTls:
    """PEM files: our chain and its key; with `client_ca` only callers whose certificate it signed are let in."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True)
class ClientTls:
    """PEM files: whom to trust (None: what the system trusts), and a certificate of our own with its key."""

    ca: Path | str | None = None
    certificate: Path | str | None = None
    key: Path | str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files; raises OSError for one that cannot be read."""
        return grpc.ssl_channel_credentials(
            *(None if path is None else Path(path).read_bytes() for path in (self.ca, self.key, self.certificate))
        )


class Certificates:
    """The server's files, looked at again for each new connection; what is broken is not taken over."""

    def __init__(self, files: ServerTls) -> None:
        """Read the files; StartError where they cannot be read or do not belong together."""
        self._files = files
        self._stamp = self._looked()
        self._first = self._read()

    def credentials(self) -> grpc.ServerCredentials:
        """Return what a secure port takes."""
        needs_certificate = self._files.client_ca is not None
        return grpc.dynamic_ssl_server_credentials(
            self._first,
            self._changed,  # type: ignore[arg-type] # None says that nothing has changed
            needs_certificate,
        )

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        stamp = self._looked()
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            return self._read()
        except StartError as error:
            _log.error("the certificates in use stay: %s", error)
            return None

    def _looked(self) -> list[tuple[int, int, int]]:
        stamps = []
        for path in self._paths():
            try:
                found = path.stat()
            except OSError:
                stamps.append((0, 0, 0))
            else:
                stamps.append((found.st_ino, found.st_size, found.st_mtime_ns))
        return stamps

    def _paths(self) -> list[Path]:
        files = self._files
        return [files.certificate, files.key, *([] if files.client_ca is None else [files.client_ca])]

    def _read(self) -> grpc.ServerCertificateConfiguration:
        files = self._files
        try:
            contents = [path.read_bytes() for path in self._paths()]
            proof = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            proof.load_cert_chain(files.certificate, files.key, password="")
            if files.client_ca is not None:
                proof.load_verify_locations(files.client_ca)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            names = ", ".join(str(path) for path in self._paths())
            raise StartError(f"TLS files {names}: {error}; PEM, the key without a passphrase") from None
        pair = [(contents[1], contents[0])]
        return grpc.ssl_server_certificate_configuration(pair, contents[2] if len(contents) > 2 else None)
