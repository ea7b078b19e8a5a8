"""Real sockets; what a supervisor really does with it, test_lifecycle and test_serving show."""

import socket

import pytest

from align2llava.services.process import supervisor
from align2llava.services.settings import SettingsError
from tests.contract.servers import free_port


def test_taken_port_is_refused_by_number_and_setting():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"port {port} of 127\.0\.0\.1 \(A2L_GRPC_PORT\)"):
            supervisor.refuse_ports("127.0.0.1", {"--port": free_port(), "A2L_GRPC_PORT": port})
    supervisor.refuse_ports("127.0.0.1", {"--port": 0, "A2L_GRPC_PORT": 0})


def test_one_port_for_both_surfaces_is_refused():
    port = free_port()
    with pytest.raises(SettingsError, match=f"port {port}"):
        supervisor.refuse_ports("127.0.0.1", {"--port": port, "A2L_GRPC_PORT": port})


def test_address_that_is_not_of_this_machine_is_refused():
    with pytest.raises(SettingsError, match=r"192\.0\.2\.1"):
        supervisor.refuse_ports("192.0.2.1", {"A2L_GRPC_PORT": free_port()})


def test_process_without_a_supervisor_states_no_host_and_ends_nobody():
    assert supervisor.stated_hosts() == []
    supervisor.end()


def test_listening_addresses_are_those_of_this_process():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert "127.0.0.1" in supervisor.listening_hosts()
