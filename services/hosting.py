"""What we change in BentoML's own service: TLS from our settings, no timer for each request, nothing foreign.

BentoML takes certificates from a service's configuration, which is made at import; ours come from
the environment, which is read when the service is served. Its timeout middleware leaves a timer
running for each request until it fires, and waits that long for a request whose caller has gone.
Its page and what that loads call other people's servers, and so does its report of usage; its log
holds a trace, with the caller's text, of each body that does not fit.
"""

import logging
import os
import ssl
from typing import TypeVar

import bentoml
from bentoml._internal.utils.analytics import usage_stats
from bentoml.exceptions import BentoMLException
from pydantic import ValidationError
from starlette.applications import Starlette

from align2llava.services.settings import Settings, SettingsError, is_set, load_settings

T = TypeVar("T")

_CERT_REQUIRED = 2  # ssl.CERT_REQUIRED, as BentoML writes it
_TIMEOUT_MIDDLEWARE = "TimeoutMiddleware"
# Its page, the program of that page, and its document; ours stand in `services.rest_model`.
_FOREIGN_ROUTES = frozenset({"index", "static_content", "assets", "openapi-spec"})
_REFUSALS_LOGGER = "bentoml._internal.server.http_app"


class _QuietRefusals(logging.Filter):
    """Makes one line of BentoML's trace of a request that does not fit."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, ValidationError) or (
            isinstance(error, BentoMLException) and error.error_code < 500
        ):
            record.exc_info = None
            record.levelno, record.levelname = logging.INFO, "INFO"
            record.msg = "%s [%s]: refused a body that does not fit"
        return True


_QUIET_REFUSALS = _QuietRefusals()


class HostedService(bentoml.Service[T]):
    """A BentoML service that serves HTTPS where the settings name a certificate."""

    def inject_config(self) -> None:
        """Adds the certificates before BentoML reads the configuration, for server and worker."""
        os.environ.setdefault(usage_stats.BENTOML_DO_NOT_TRACK, "True")
        usage_stats.do_not_track.cache_clear()
        try:
            settings = load_settings(self.name)  # pyright: ignore[reportArgumentType]  (the shells' names are the kinds)
        except SettingsError:
            pass  # the check before start says so, once and clearly
        else:
            if is_set(settings.tls_cert_file):
                self.config["ssl"] = ssl_section(settings)  # pyright: ignore[reportGeneralTypeIssues]
        super().inject_config()

    def to_asgi(self, is_main: bool = True) -> Starlette:  # noqa: FBT001, FBT002  (BentoML's signature)
        """Returns the app without the timeout middleware (deadlines are ours) and foreign pages."""
        app = super().to_asgi(is_main)
        assert isinstance(app, Starlette)
        app.user_middleware = [
            middleware
            for middleware in app.user_middleware
            if getattr(middleware.cls, "__name__", "") != _TIMEOUT_MIDDLEWARE
        ]
        app.router.routes = [
            route
            for route in app.router.routes
            if getattr(route, "name", "") not in _FOREIGN_ROUTES
        ]
        logging.getLogger(_REFUSALS_LOGGER).addFilter(_QUIET_REFUSALS)
        return app


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


def refuse_certificates(settings: Settings) -> None:
    """Refuses certificates that TLS cannot be spoken with, where the settings name any.

    Raises:
        SettingsError: names the variables of the files, and what is wrong with them.
    """
    if not is_set(settings.tls_cert_file):
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise SettingsError(
            f"A2L_TLS_CERT_FILE {str(settings.tls_cert_file)!r} with A2L_TLS_KEY_FILE "
            f"{str(settings.tls_key_file)!r}: {error}"
        ) from error
    if is_set(settings.tls_client_ca_file):
        try:
            context.load_verify_locations(settings.tls_client_ca_file)
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"A2L_TLS_CLIENT_CA_FILE {str(settings.tls_client_ca_file)!r}: {error}"
            ) from error
