from pathlib import Path
from typing import Any

import pytest

from align2llava.clients.endpoint import Endpoint, EndpointFileError


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["ca_file", "cert_file"])
@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_file_that_is_missing_or_no_pem_is_named(tmp_path: Path, scheme: str, name: str):
    key_file = written(tmp_path / "key.pem", "no key")
    for path in (tmp_path / "nowhere.pem", tmp_path, written(tmp_path / "a.pem", "no PEM")):
        keys: dict[str, Any] = (
            {"cert_file": path, "key_file": key_file} if name == "cert_file" else {name: path}
        )
        endpoint = Endpoint(url=f"{scheme}://host:1", **keys)
        for use in (endpoint.ssl_context, endpoint.channel_credentials):
            with pytest.raises(EndpointFileError, match=f"{name} .*{path.name}"):
                use()


def test_certificate_without_its_key_is_refused(tmp_path: Path):
    endpoint = Endpoint(url="https://host:1", cert_file=written(tmp_path / "a.pem", ""))
    with pytest.raises(EndpointFileError, match="go together"):
        endpoint.ssl_context()


def test_proxy_is_told_without_its_password():
    endpoint = Endpoint(url="http://host:1", proxy="http://me:secret@proxy:3128")
    assert endpoint.through() == " (asked through the proxy http://proxy:3128)"
