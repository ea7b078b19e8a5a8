from pathlib import Path

import pytest

from align2llava.services.auth import KeyRing, is_loopback, load_keys, refuse_open
from align2llava.services.errors import UnauthenticatedError
from align2llava.services.settings import SettingsError


@pytest.mark.parametrize("shown", ["Bearer one", "bearer two", "BEARER  one "])
def test_known_key_opens(shown: str):
    KeyRing(["one", "two"]).check(shown)


@pytest.mark.parametrize("shown", ["", "one", "Bearer", "Bearer ", "Bearer on", "Basic one"])
def test_anything_else_is_unauthenticated(shown: str):
    with pytest.raises(UnauthenticatedError):
        KeyRing(["one"]).check(shown)


def test_empty_ring_opens_to_all():
    KeyRing([]).check("")


def test_file_holds_one_key_a_line(tmp_path: Path):
    path = tmp_path / "keys"
    path.write_text("# of the driver\none\n\n  two \n")
    ring = load_keys(path)
    ring.check("Bearer one")
    ring.check("Bearer two")
    with pytest.raises(UnauthenticatedError):
        ring.check("Bearer # of the driver")


@pytest.mark.parametrize(
    "text", [pytest.param("\n# none\n", id="no key"), pytest.param("a b\n", id="spaces")]
)
def test_file_without_keys_does_not_open_the_service(tmp_path: Path, text: str):
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(SettingsError, match="A2L_API_KEYS_FILE"):
        load_keys(path)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.org", False),
    ],
)
def test_loopback_is_told_from_the_rest(host: str, expected: bool):
    assert is_loopback(host) is expected


def test_open_address_without_keys_is_refused():
    with pytest.raises(SettingsError, match=r"0\.0\.0\.0 without keys"):
        refuse_open(["127.0.0.1", "0.0.0.0"], has_keys=False, allow_open=False)


@pytest.mark.parametrize(("has_keys", "allow_open"), [(True, False), (False, True)])
def test_open_address_is_served_with_keys_or_when_allowed(has_keys: bool, allow_open: bool):
    refuse_open(["0.0.0.0"], has_keys=has_keys, allow_open=allow_open)


def test_keys_are_read_again_and_kept_while_the_file_holds_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("align2llava.services.watched._LOOK_S", 0.0)
    path = tmp_path / "keys"
    path.write_text("first\n")
    ring = load_keys(path)
    ring.check("Bearer first")
    path.write_text("\ufeffsecond\nthird\n")
    ring.check("Bearer second")
    with pytest.raises(UnauthenticatedError):
        ring.check("Bearer first")
    path.write_text("# half written")
    ring.check("Bearer third")
    path.unlink()
    ring.check("Bearer third")
