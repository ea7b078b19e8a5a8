"""Where the key can be read on its way to a service: told once for all services of a command."""

import logging
from collections.abc import Iterable
from functools import cache

from align2llava.clients.address import address_of
from align2llava.pipeline.config.schema import EndpointConfig

logger = logging.getLogger(__name__)

_WITH_TLS = frozenset({"https", "grpcs"})


def warn_of_clear_text(configs: Iterable[EndpointConfig | None], *, api_key: str | None) -> None:
    """Logs a warning where a key goes to another machine without TLS."""
    urls = [url for config in configs if config is not None for url in config.urls()]
    addresses = [address_of(url) for url in urls]
    hosts = {a.host for a in addresses if a.scheme not in _WITH_TLS and not a.is_loopback}
    if api_key is not None and hosts:
        _warn(tuple(sorted(hosts)))


@cache  # a run opens its services twice
def _warn(hosts: tuple[str, ...]) -> None:
    logger.warning(
        "the key of A2L__API_KEY goes to %s in clear text: https:// and grpcs:// hide it",
        ", ".join(hosts),
    )
