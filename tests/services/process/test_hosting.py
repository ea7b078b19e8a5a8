"""The changed BentoML service; TLS over both surfaces of a real process, certificates made here."""

import datetime as dt
import ipaddress
from pathlib import Path
from typing import Any, cast

import bentoml
import grpc
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette

from align2llava.clients.endpoint import Endpoint
from align2llava.clients.transport.rest import RestRewardClient
from align2llava.clients.transport.rpc import GrpcRewardClient
from align2llava.services.process.hosting import refuse_certificates, ssl_section
from align2llava.services.question_reward import QuestionReward
from align2llava.services.settings import SettingsError, load_settings
from tests.contract.servers import server
from tests.contract.wire_values import question_group, rewards


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "align2llava test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file


def middleware_of(app: object) -> list[str]:
    assert isinstance(app, Starlette)
    return [cast("type", middleware.cls).__name__ for middleware in app.user_middleware]


def test_app_has_our_middleware_and_not_the_one_with_timers():
    names = middleware_of(QuestionReward.to_asgi())
    assert "RestSurface" in names
    assert "TimeoutMiddleware" not in names
    assert "TimeoutMiddleware" in middleware_of(bentoml.Service.to_asgi(QuestionReward))


def test_client_certificates_are_required_where_their_authority_is_named(tmp_path: Path):
    cert_file, key_file = write_certificate(tmp_path)
    environ = {
        "A2L_ENGINE": "fake",
        "A2L_TLS_CERT_FILE": str(cert_file),
        "A2L_TLS_KEY_FILE": str(key_file),
    }
    plain = ssl_section(load_settings("question-reward", environ))
    mutual = ssl_section(
        load_settings("question-reward", environ | {"A2L_TLS_CLIENT_CA_FILE": str(cert_file)})
    )
    assert plain == {"enabled": True, "certfile": str(cert_file), "keyfile": str(key_file)}
    assert mutual == plain | {"ca_certs": str(cert_file), "cert_reqs": 2}


@pytest.mark.parametrize("wrong", ["tls_cert_file", "tls_key_file", "tls_client_ca_file"])
def test_file_that_tls_cannot_be_spoken_with_is_refused_by_its_variable(tmp_path: Path, wrong: str):
    cert_file, key_file = write_certificate(tmp_path)
    files = {
        "tls_cert_file": cert_file,
        "tls_key_file": key_file,
        "tls_client_ca_file": cert_file,
    }
    environ = {f"A2L_{name.upper()}": str(path) for name, path in files.items()}
    environ["A2L_ENGINE"] = "fake"
    refuse_certificates(load_settings("question-reward", environ))
    (tmp_path / "wrong.pem").write_text("no certificate")
    environ[f"A2L_{wrong.upper()}"] = str(tmp_path / "wrong.pem")
    with pytest.raises(SettingsError, match=f"A2L_{wrong.upper()} .*wrong.pem"):
        refuse_certificates(load_settings("question-reward", environ))


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_both_surfaces_want_tls_and_the_clients_certificate(tmp_path: Path):
    cert_file, key_file = write_certificate(tmp_path)
    settings = {
        "A2L_TLS_CERT_FILE": str(cert_file),
        "A2L_TLS_KEY_FILE": str(key_file),
        "A2L_TLS_CLIENT_CA_FILE": str(cert_file),
    }
    with server("question-reward", tmp_path, settings=settings, await_ready=False) as running:
        shown: dict[str, Any] = {"ca_file": cert_file, "cert_file": cert_file, "key_file": key_file}
        rest = Endpoint(url=f"https://127.0.0.1:{running.http_port}", **shown)
        rpc = Endpoint(url=f"grpcs://127.0.0.1:{running.grpc_port}", **shown)
        clients = [RestRewardClient(rest), GrpcRewardClient(rpc, kind="question-reward")]
        for client in clients:
            response = await client.score([question_group("x")], timeout_s=60)
            assert rewards(response)[0][0] is not None
            await client.aclose()
        async with httpx.AsyncClient(trust_env=False) as http:
            with pytest.raises(httpx.TransportError):
                await http.get(f"http://127.0.0.1:{running.http_port}/v1/model")
        bare = grpc.ssl_channel_credentials(cert_file.read_bytes())
        with (
            grpc.secure_channel(f"127.0.0.1:{running.grpc_port}", bare) as channel,
            pytest.raises(grpc.FutureTimeoutError),
        ):
            grpc.channel_ready_future(channel).result(timeout=2)
