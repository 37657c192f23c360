"""Who may send what: host, origin, token, cookie, size of a body, and headers of answers."""

import os
import re
import socket

import httpx
import pytest
from service_parts import JOB, serving

from workbench.experiments.service.access import COOKIE, Tokens
from workbench.experiments.service.settings import ServiceSettings

TOKEN = "0123456789abcdef-a-token"
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A service on a loopback address, without a token."""
    with serving(tmp_path_factory.mktemp("plain"), upload_mb=1) as parts:
        yield parts


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """A service with a token and the name of a proxy."""
    with serving(
        tmp_path_factory.mktemp("locked"), token=TOKEN, allow_host=("pets.example.org",)
    ) as parts:
        yield parts


def raw(client, request):
    """Send bytes as they are; return the answer's status."""
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=30) as line:
        line.sendall(request)
        return int(line.recv(200).split()[1])


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1"]
)
def test_a_page_under_a_name_of_its_own_cannot_reach_a_local_server(plain, host):
    _, client, _ = plain
    answer = client.get("/api/jobs", headers={"host": host})
    assert answer.status_code == 400
    assert "is not this server's" in answer.json()["problems"][0]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9999", "[::1]:80", "LOCALHOST:1"])
def test_names_of_this_machine_are_accepted(plain, host):
    _, client, _ = plain
    assert client.get("/api/jobs", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/api/jobs", "/new", "/login", "/jobs/0123456789abcdef/cancel"])
def test_requests_of_other_pages_change_nothing(plain, headers, path):
    service, client, _ = plain
    answer = client.post(path, data={"source": "digits", "target": "digits-3v8"}, headers=headers)
    assert (answer.status_code, answer.json()["problems"]) == (
        403, ["the request comes from another web page"],
    )  # fmt: skip
    assert service.queue.all() == []


def test_the_own_page_may_send_forms(plain):
    _, client, _ = plain
    own = str(client.base_url).rstrip("/")
    answer = client.post("/new", data={"source": "digits"}, headers={"origin": own})
    assert answer.status_code == 422
    assert "choose a known domain" in answer.text


def test_a_body_that_is_not_json_and_an_unknown_page_are_explained(plain):
    _, client, _ = plain
    json = {"content-type": "application/json"}
    answer = client.post("/api/jobs", content='{"source": }', headers=json)
    assert answer.status_code == 422
    assert answer.json()["problems"] == ["the body is not JSON: Expecting value at character 12"]
    answer = client.get("/nowhere")
    assert (answer.status_code, "there is no such page" in answer.text) == (404, True)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Bearer {TOKEN[:-1]}"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Bearer"},
        {"cookie": f"{COOKIE}={TOKEN}"},
        {"cookie": f"{COOKIE}=9999999999.{'0' * 64}"},
        {"cookie": f"{COOKIE}=1.{Tokens(TOKEN)._sign('1')}"},  # expired
    ],
)
@pytest.mark.parametrize(
    "path", ["/api/jobs", "/openapi.json", "/api/jobs/0123456789abcdef/events"]
)
def test_nothing_is_answered_without_the_token(locked, headers, path):
    _, client, _ = locked
    answer = client.get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_the_body_is_not_read_without_the_token(locked):
    service, client, _ = locked
    files = {"file": ("pets.zip", b"x" * 100)}
    assert client.post("/api/uploads", files=files).status_code == 401
    assert not service.uploads.folder.exists()


def test_the_token_opens_the_interface(locked):
    _, client, _ = locked
    assert client.get("/api/jobs", headers=BEARER).json() == []
    assert client.get("/health").json() == {"status": "ok"}
    proxy = {**BEARER, "host": "pets.example.org"}
    assert client.get("/api/jobs", headers=proxy).status_code == 200


def test_the_login_page_gives_a_cookie_that_other_pages_cannot_use(locked):
    _, client, _ = locked
    answer = client.get("/new", headers={"accept": "text/html"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/new")
    assert 'name="next" value="/new"' in client.get(answer.headers["location"]).text
    wrong = client.post("/login", data={"token": "wrong"})
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
    answer = client.post("/login", data={"token": TOKEN, "next": "/new"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/new")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    value = re.search(rf"{COOKIE}=([^;]+)", cookie)[1]
    client.cookies.clear()
    assert client.get("/new", headers={"cookie": f"{COOKIE}={value}"}).status_code == 200
    changed = f"9{value[1:]}"
    assert client.get("/api/jobs", headers={"cookie": f"{COOKIE}={changed}"}).status_code == 401


@pytest.mark.parametrize(
    "next_page", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:x"]
)
def test_the_login_page_leads_to_no_other_server(locked, next_page):
    _, client, _ = locked
    answer = client.post("/login", data={"token": TOKEN, "next": next_page})
    assert answer.headers["location"] == "/"
    client.cookies.clear()


def upload_request(client, headers):
    return (
        f"POST /api/uploads HTTP/1.1\r\nHost: {client.base_url.netloc.decode()}\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\n{headers}\r\n\r\n"
    ).encode()


PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'


def test_a_body_that_declares_too_much_is_rejected_before_it_is_sent(plain):
    _, client, _ = plain
    assert raw(client, upload_request(client, "Content-Length: 3000000")) == 413


def test_a_body_without_a_length_is_counted(plain):
    service, client, _ = plain

    def chunks():
        yield PART
        for _ in range(30):
            yield b"0" * 100_000

    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = client.post("/api/uploads", content=chunks(), headers=headers)
    assert answer.status_code == 413
    assert answer.json()["problems"] == ["the request is larger than 2 MB"]
    assert not service.uploads.folder.exists()


@pytest.mark.parametrize("path", ["/api/jobs", "/jobs/0123456789abcdef/predict", "/login"])
def test_other_bodies_are_smaller(plain, path):
    _, client, _ = plain
    body = (PART if not number else b"0" * 1_000_000 for number in range(40))
    headers = {"content-type": "multipart/form-data; boundary=x"}
    try:
        status = client.post(path, content=body, headers=headers).status_code
    except httpx.WriteError:  # the server has answered and closed the connection
        return
    assert status == 413


def test_a_file_over_the_limit_of_uploads_is_rejected(plain):
    _, client, _ = plain
    files = {"file": ("w.safetensors", bytes(1_500_000))}
    answer = client.post("/api/uploads", files=files)
    assert (answer.status_code, answer.json()) == (
        413, {"problems": ["the file is larger than 1 MB"]},
    )  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/", "/new", "/docs", "/api/jobs", "/static/service.css", "/none"]
)
def test_answers_tell_browsers_what_they_may_do(plain, path):
    _, client, _ = plain
    headers = client.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers or "uvicorn" not in path


def test_pages_name_no_other_server(plain):
    _, client, _ = plain
    for path in ("/", "/new", "/docs", "/login", "/static/service.css", "/static/service.js"):
        assert not re.findall(r"(?:src|href|url\()=?[\"'(]?(?:https?:)?//", client.get(path).text)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"host": "0.0.0.0"}, "--host 0.0.0.0: other machines can reach it"),
        ({"host": "::"}, "other machines can reach it"),
        ({"host": "example.org"}, "other machines can reach it"),
        ({"allow_host": ("pets.example.org",)}, "--allow-host pets.example.org: others can reach"),
        ({"token": "short"}, "at least 16 ASCII characters"),
        ({"token": "with a space in it, yes"}, "at least 16 ASCII characters"),
        ({"workers": 0}, "--workers 0 is not within 1 to 64"),
        ({"port": 70000}, "--port 70000"),
        ({"queue": 0}, "--queue 0"),
        ({"upload_mb": 0}, "--upload-mb 0"),
    ],
)
def test_unsafe_settings_are_rejected(options, said):
    (problem,) = ServiceSettings(**options).problems()
    assert said in problem


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_loopback_needs_no_token(host):
    assert ServiceSettings(host=host).problems() == []
    assert ServiceSettings(host="0.0.0.0", token=TOKEN).problems() == []
    assert TOKEN not in repr(ServiceSettings(token=TOKEN))


def test_the_command_reports_problems_in_one_line(run_cli, monkeypatch):
    for words, said in (
        (("--host", "0.0.0.0"), "set --token, or $WORKBENCH_TOKEN"),
        (("--root", "missing"), "--root missing: no such folder"),
        (("--tracking-uri", "file:x"), "store file:x"),
    ):
        status, out, err = run_cli("serve", *words)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert said in err
    monkeypatch.setenv("WORKBENCH_TOKEN", "short")
    assert "at least 16" in run_cli("serve")[2]
    assert os.listdir() == []


def test_a_port_that_is_taken_is_one_line(run_cli):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        status, _, err = run_cli("serve", "--port", taken.getsockname()[1])
    assert (status, err.count("\n")) == (2, 1)
    assert "use another port" in err


def test_a_job_needs_the_token_too(locked):
    service, client, _ = locked
    assert client.post("/api/jobs", json=JOB).status_code == 401
    assert service.queue.all() == []
