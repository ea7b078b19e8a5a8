"""TLS of the REST surface: BentoML is told the same certificate files that gRPC uses.

BentoML takes them from a service's configuration, which is made at import; ours come from the
environment, which is read when the service is served.
"""

from typing import TypeVar

import bentoml

from services.settings import Settings, SettingsError, is_set, load_settings

T = TypeVar("T")

_CERT_REQUIRED = 2  # ssl.CERT_REQUIRED, as BentoML writes it


class EncryptedService(bentoml.Service[T]):
    """A BentoML service that serves HTTPS where the settings name a certificate."""

    def inject_config(self) -> None:
        """Adds the certificates before BentoML reads the configuration, for server and worker."""
        try:
            settings = load_settings(self.name)  # pyright: ignore[reportArgumentType]  (the shells' names are the kinds)
        except SettingsError:
            pass  # the check before start says so, once and clearly
        else:
            if is_set(settings.tls_cert_file):
                self.config["ssl"] = ssl_section(settings)  # pyright: ignore[reportGeneralTypeIssues]
        super().inject_config()


def ssl_section(settings: Settings) -> dict[str, object]:
    """Returns BentoML's `ssl` section for settings that name a certificate."""
    section: dict[str, object] = {
        "enabled": True,
        "certfile": str(settings.tls_cert_file),
        "keyfile": str(settings.tls_key_file),
    }
    if is_set(settings.tls_client_ca_file):
        section |= {"ca_certs": str(settings.tls_client_ca_file), "cert_reqs": _CERT_REQUIRED}
    return section
