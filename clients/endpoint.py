"""Where a service is and what a client shows it: URL, bearer key, certificates, size limit."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

DEFAULT_MAX_BODY_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One service. `http[s]://` speaks REST; `grpc[s]://` and `dns:///` speak gRPC.

    Certificates are PEM files: `ca_file` None = the system's authorities; `cert_file` and
    `key_file` together for mutual TLS. `max_body_bytes` bounds requests and answers.
    """

    url: str
    api_key: str | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES

    def ssl_context(self) -> ssl.SSLContext:
        """Returns the context of an `https://` connection."""
        context = ssl.create_default_context(cafile=None if self.ca_file is None else self.ca_file)
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Returns the credentials of a `grpcs://` connection."""
        return grpc.ssl_channel_credentials(
            root_certificates=_read(self.ca_file),
            private_key=_read(self.key_file),
            certificate_chain=_read(self.cert_file),
        )

    def bearer(self) -> dict[str, str]:
        """Returns the authorization header, empty without a key."""
        return {} if self.api_key is None else {"authorization": f"Bearer {self.api_key}"}


def _read(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()
