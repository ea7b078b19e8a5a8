"""What we change in BentoML's own service: TLS from our settings, no timer for each request, nothing foreign.

BentoML takes certificates from a service's configuration, which is made at import; ours come from
the environment, which is read when the service is served. Its timeout middleware leaves a timer
running for each request until it fires, and waits that long for a request whose caller has gone.
Its page and what that loads call other people's servers, and so does its report of usage; its parser
validates on the event loop, tells every fault there is, and logs each with the caller's text.
"""

import os
import ssl
from typing import TypeVar

import bentoml
from bentoml._internal.utils.analytics import usage_stats
from starlette.applications import Starlette
from starlette.requests import Request

from align2llava.services.process.connections import bound_connections
from align2llava.services.settings import Settings, SettingsError, is_set, load_settings

T = TypeVar("T")

_CERT_REQUIRED = 2  # ssl.CERT_REQUIRED, as BentoML writes it
_TIMEOUT_MIDDLEWARE = "TimeoutMiddleware"
# Its page, the program of that page, and its document; ours stand in `services.surfaces.rest.own_routes`.
_FOREIGN_ROUTES = frozenset({"index", "static_content", "assets", "openapi-spec"})
REQUEST = "a2l.request"  # of the scope: the validated message of one of our routes


async def _given(request: Request, _serde: object) -> object:
    """Returns what the surface made of the body already, in place of BentoML's parser."""
    return request.scope[REQUEST]


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
        for method in self.apis.values():
            method.input_spec.from_http_request = _given  # pyright: ignore[reportAttributeAccessIssue]
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
        bound_connections()
        app.router.redirect_slashes = False  # to where the Host header says
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
