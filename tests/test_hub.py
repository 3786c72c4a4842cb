"""Where weights may come from: a path, the hub's cache, or a hub that can be reached in the user's own way."""

import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest
from huggingface_hub import constants

import viral.hub
from viral.errors import WeightsError
from viral.hub import fetch, require_source

ID = "somebody/some-weights"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch, tmp_path):
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def probed(monkeypatch):
    """Addresses that were tried; none can be reached."""
    addresses = []

    def refuse(address, **_):
        addresses.append(address)
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr(socket, "create_connection", refuse)
    return addresses


def refused():
    with pytest.raises(WeightsError, match=rf"No teacher at '{ID}'") as caught:
        require_source(ID, "teacher")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_path_and_a_cached_id_need_no_network(probed, tmp_path):
    assert require_source(str(tmp_path), "teacher") == str(tmp_path)
    (tmp_path / "cache" / "models--somebody--some-weights" / "snapshots").mkdir(parents=True)
    assert require_source(ID, "teacher") == ID
    assert not probed


def test_what_is_neither_path_nor_id(probed):
    with pytest.raises(WeightsError, match="no such file or folder"):
        require_source("/nowhere/at/all", "teacher")
    assert not probed


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("https://huggingface.co", ("huggingface.co", 443)),
        ("http://mirror", ("mirror", 80)),
        ("http://mirror:8080", ("mirror", 8080)),
        ("https://mirror:8443/hub", ("mirror", 8443)),
    ],
)
def test_the_address_tried_is_that_of_the_endpoint(monkeypatch, probed, endpoint, address):
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    assert f"without a network ({address[0]}:{address[1]}: refused)" in refused()
    assert probed == [address]


def test_a_mirror_on_another_port_is_reached(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as mirror:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{mirror.getsockname()[1]}")
        assert require_source(ID, "teacher") == ID
    refused()


@pytest.mark.parametrize("endpoint", ["mirror:8080", "http://", "http://mirror:port", "ftp://mirror"])
def test_an_endpoint_that_is_none(monkeypatch, probed, endpoint):
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    assert f"HF_ENDPOINT={endpoint} is no http address" in refused()
    assert not probed


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_behind_a_proxy_the_hub_is_not_tried_directly(monkeypatch, probed, variable):
    monkeypatch.setenv(variable, "http://proxy:3128")
    assert require_source(ID, "teacher") == ID
    assert not probed


@pytest.mark.parametrize(
    "variables", [{"http_proxy": "http://p:1"}, {"https_proxy": "http://p:1", "no_proxy": "*"}]
)
def test_a_proxy_for_others_does_not_count(monkeypatch, probed, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    refused()
    assert probed == [("huggingface.co", 443)]


def test_offline_mode_is_believed_at_once(monkeypatch, probed):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refused()
    assert not probed


@pytest.fixture
def hub(monkeypatch):
    """A hub that has no repository and no file; the client's own errors are what is tested."""
    codes = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(404)
            self.send_header("X-Error-Code", codes[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        # The client has read its endpoint into here once and for all.
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield codes
        server.shutdown()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("RepoNotFound", "Repository Not Found"),
        ("EntryNotFound", "Entry Not Found"),
        ("GatedRepo", "gated repo"),
    ],
)
def test_what_the_hub_refuses_is_one_line(hub, code, said):
    hub.append(code)
    with pytest.raises(
        WeightsError, match=rf"No teacher at '{ID}': its model\.bin cannot be fetched \(.*{said}"
    ) as caught:
        fetch(ID, "model.bin", "teacher")
    assert "\n" not in str(caught.value)


def test_a_name_server_that_never_answers_does_not_hold_us(monkeypatch):
    answer = Event()
    monkeypatch.setattr(viral.hub, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer.wait(60) and [])
    try:
        assert "huggingface.co:443 did not answer within 0.2 s" in refused()
    finally:
        answer.set()
