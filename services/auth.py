"""Bearer keys, and the rule that a service without keys is reachable on loopback only.

Knows no transport: both surfaces hand it the value of their `authorization` header.
"""

import hashlib
import hmac
import ipaddress
import logging
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from align2llava.services.errors import UnauthenticatedError
from align2llava.services.settings import SettingsError
from align2llava.services.watched import WatchedFiles

logger = logging.getLogger(__name__)

_SCHEME = "bearer "


class KeyRing:
    """The keys that open a service; an empty ring opens it to everyone.

    Those of a file are read again when it changes. While it holds no keys that can be read, the
    ones before stay in force: a file that is half written must not shut everybody out.
    """

    def __init__(self, keys: Iterable[str], *, path: Path | None = None) -> None:
        self._digests = _digests(keys)
        self._path = path
        self._watched = WatchedFiles([path] if path is not None else [])

    @property
    def is_empty(self) -> bool:
        """Whether there are no keys at all."""
        return not self._digests

    def check(self, authorization: str) -> None:
        """Accepts `Bearer KEY` with a key of the ring; compares in constant time.

        Raises:
            UnauthenticatedError: no key was shown, or one that is not in the ring.
        """
        if self.is_empty:
            return
        if self._path is not None and self._watched.have_changed():
            self._read_again(self._path)
        if not authorization.lower().startswith(_SCHEME):
            raise UnauthenticatedError("a bearer key is needed: authorization: Bearer KEY")
        shown = hashlib.sha256(authorization[len(_SCHEME) :].strip().encode()).digest()
        # Every key is compared, so that the time does not tell which one came close.
        matches = [hmac.compare_digest(shown, digest) for digest in self._digests]
        if not any(matches):
            raise UnauthenticatedError("the bearer key is not one of this service's keys")

    def _read_again(self, path: Path) -> None:
        try:
            self._digests = _digests(_keys_of(path))
        except SettingsError as error:
            logger.error("the keys of before stay in force: %s", error)  # noqa: TRY400  (one line)
        else:
            logger.info("read the keys again: %d", len(self._digests))


def _digests(keys: Iterable[str]) -> list[bytes]:
    return [hashlib.sha256(key.encode()).digest() for key in keys]


def load_keys(path: Path) -> KeyRing:
    """Returns the keys of a file: one a line; empty lines and lines after `#` do not count.

    Raises:
        SettingsError: the file holds no key, cannot be read, or a key has spaces.
    """
    return KeyRing(_keys_of(path), path=path)


def _keys_of(path: Path) -> list[str]:
    try:
        # With or without a byte order mark, which would else make the first key another.
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"A2L_API_KEYS_FILE cannot be read: {error}") from error
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise SettingsError(f"A2L_API_KEYS_FILE: {str(path)!r} holds no key")
    if any(len(key.split()) != 1 for key in keys):
        raise SettingsError(f"A2L_API_KEYS_FILE: a key in {str(path)!r} has spaces")
    return keys


def is_loopback(host: str) -> bool:
    """Returns whether an address is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_foreign_page(origin: str) -> None:
    """Refuses what a web page of another machine asks of a service without keys.

    Browsers name the page in `Origin`; programs send none. A name that was made to point at this
    machine would else let any page that someone opens ask his own services.

    Raises:
        UnauthenticatedError: the page did not come from loopback.
    """
    try:
        host = urlsplit(origin).hostname
    except ValueError:
        host = None
    if origin and not is_loopback(host or ""):
        raise UnauthenticatedError("a service without keys answers no web page of elsewhere")


def refuse_open(hosts: Iterable[str], *, has_keys: bool, allow_open: bool) -> None:
    """Refuses to serve an address beyond loopback without keys.

    Raises:
        SettingsError: one of the hosts is not loopback, there are no keys, and it is not allowed.
    """
    if has_keys or allow_open:
        return
    for host in hosts:
        if not is_loopback(host):
            raise SettingsError(
                f"the service would listen on {host} without keys: set A2L_API_KEYS_FILE, bind "
                "127.0.0.1, or set A2L_ALLOW_OPEN=1"
            )
