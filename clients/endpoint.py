"""Where a service is and what a client shows it: URL, bearer key, certificates, proxy, size limit."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from align2llava.clients.address import Address, address_of
from align2llava.clients.key import checked_key

DEFAULT_MAX_BODY_BYTES = 64 * 2**20


class EndpointFileError(ValueError):
    """A certificate or key of an endpoint cannot be used; the message names the setting and the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One service. `http[s]://` speaks REST; `grpc[s]://` and `dns:///` speak gRPC.

    Certificates are PEM files: `ca_file` None = the system's authorities; `cert_file` and
    `key_file` together for mutual TLS. `proxy` is the URL of an HTTP proxy to ask through, None = directly;
    no client looks for one itself. `max_body_bytes` bounds requests and answers. `api_key` is stripped; a
    ValueError says that it is no key.
    """

    url: str
    api_key: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    proxy: str | None = None
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES

    def __post_init__(self) -> None:
        """Takes the key as both transports can send it."""
        object.__setattr__(self, "api_key", checked_key(self.api_key))  # frozen

    def address(self) -> Address:
        """Returns what the URL names.

        Raises:
            ValueError: it is no URL of a service.
        """
        return address_of(self.url)

    def ssl_context(self) -> ssl.SSLContext:
        """Returns the context of an `https://` connection.

        Raises:
            EndpointFileError: a file is missing or unreadable, is no PEM, or key and certificate do not fit.
        """
        if (self.cert_file is None) is not (self.key_file is None):
            raise EndpointFileError("cert_file and key_file go together")
        for name in ("ca_file", "cert_file", "key_file"):
            _read(name, getattr(self, name))
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except (ssl.SSLError, ValueError) as error:
            raise EndpointFileError(
                f"ca_file {self.ca_file}: no PEM file with certificates"
            ) from error
        if self.cert_file is None:
            return context
        try:
            # A key with a password would ask for it on the terminal.
            context.load_cert_chain(self.cert_file, self.key_file, password="")
        except (ssl.SSLError, ValueError) as error:
            raise EndpointFileError(
                f"cert_file {self.cert_file} and key_file {self.key_file}: no PEM files of one "
                f"certificate and its key without a password"
            ) from error
        return context

    def check_files(self) -> None:
        """Reads the files that are named; where none is, nothing: the system's authorities take 60 ms to load.

        Raises:
            EndpointFileError: as `ssl_context`.
        """
        if (self.ca_file, self.cert_file, self.key_file) != (None, None, None):
            self.ssl_context()

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Returns the credentials of a `grpcs://` connection; the same authorities as for `https://`.

        Raises:
            EndpointFileError: as `ssl_context`.
        """
        self.ssl_context()  # gRPC would fail later, at each call, and in its own words
        system = ssl.get_default_verify_paths().cafile
        ca_file = self.ca_file or (Path(system) if system else None)
        return grpc.ssl_channel_credentials(
            root_certificates=_read("ca_file", ca_file),
            private_key=_read("key_file", self.key_file),
            certificate_chain=_read("cert_file", self.cert_file),
        )

    def bearer(self) -> dict[str, str]:
        """Returns the authorization header, empty without a key."""
        return {} if self.api_key is None else {"authorization": f"Bearer {self.api_key}"}

    def through(self) -> str:
        """Returns words for an error that tell of the proxy, without its password; empty without one."""
        if self.proxy is None:
            return ""
        start, _, rest = self.proxy.partition("://")
        return f" (asked through the proxy {start}://{rest.rpartition('@')[2]})"


def _read(name: str, path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise EndpointFileError(f"{name} {path}: {error.strerror}") from error
