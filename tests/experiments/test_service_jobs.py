"""Jobs: what a client may ask for, the bounded queue, cancelling, and restarts of the server."""

import io
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file
from service_parts import JOB, held_workers, serving, until
from test_service_uploads import pets, zipped

from workbench.experiments.service.job_records import Job, JobFolder, new_id
from workbench.experiments.service.worker_processes import Worker, end_orphan


@pytest.fixture
def service(tmp_path):
    with serving(tmp_path / "service", queue=2) as parts:
        yield parts


def folders(service):
    return sorted(path.name for path in service.queue.folder.path.iterdir())


def test_a_job_waits_runs_and_can_be_cancelled(service):
    service, client, workers = service
    first, second = (client.post("/api/jobs", json=JOB) for _ in range(2))
    assert (first.status_code, first.json()["state"]) == (201, "queued")
    url = first.headers["location"]
    until(lambda: client.get(url).json()["state"] == "running")
    waiting = second.json()["id"]
    assert client.get(f"/api/jobs/{waiting}").json()["waiting_before"] == 0
    assert client.post(f"/api/jobs/{waiting}/cancel").json()["state"] == "cancelled"
    client.post(f"{url}/cancel")
    until(lambda: client.get(url).json()["state"] == "cancelled")
    assert [worker.stopped for worker in workers] == [True]
    assert client.post(f"{url}/cancel").status_code == 409
    assert client.post(f"{url}/restart").json()["state"] in ("queued", "running")
    until(lambda: len(workers) == 2)
    assert client.delete(url).status_code == 409
    workers[1].release()
    until(lambda: client.get(url).json()["state"] == "done")
    assert client.delete(url).status_code == 204
    assert client.get(url).status_code == 404
    assert folders(service) == [waiting]


def test_a_full_queue_is_429_and_leaves_nothing(service):
    service, client, workers = service
    client.post("/api/jobs", json=JOB)
    until(lambda: len(workers) == 1)
    accepted = [client.post("/api/jobs", json=JOB).status_code for _ in range(2)]
    rejected = client.post("/api/jobs", json=JOB)
    assert (accepted, rejected.status_code) == ([201, 201], 429)
    assert int(rejected.headers["retry-after"]) > 0
    assert rejected.json()["problems"] == ["2 jobs are waiting; try again later"]
    assert len(folders(service)) == 3
    page = client.post("/new", data={"source": "digits", "target": "digits-3v8"})
    assert (page.status_code, "2 jobs are waiting" in page.text) == (429, True)
    assert "retry-after" in page.headers
    for number in range(3):
        until(lambda number=number: len(workers) == number + 1)
        workers[number].release()


def test_twenty_clients_at_once_are_answered(service):
    service, client, _ = service

    def ask(number):
        kinds = (
            lambda: client.post("/api/jobs", json=JOB),
            lambda: client.get("/"),
            lambda: client.get("/api/jobs"),
            lambda: client.post("/api/uploads", files={"file": ("pets.zip", zipped(pets()))}),
        )
        answer = kinds[number % 4]()
        if answer.status_code == 429:
            assert answer.headers["retry-after"]
        return number % 4, answer.status_code

    with ThreadPoolExecutor(20) as clients:
        answers = list(clients.map(ask, range(40)))
    assert all(status in (200, 201, 429) for _, status in answers)
    started = [status for kind, status in answers if kind == 0]
    # One runs and two wait; who comes in the same moment as others may find no turn.
    assert started.count(201) <= 3
    assert started.count(429) >= 7
    assert all(status == 200 for kind, status in answers if kind in (1, 2))
    assert 201 in [status for kind, status in answers if kind == 3]
    assert len(service.uploads.all()) == 1


def asks(client, **changed):
    answer = client.post("/api/jobs", json={**JOB, **changed})
    assert answer.status_code == 422, answer.text
    return answer.json()["problems"]


def test_problems_are_those_of_the_command_line_all_at_once(service, run_cli):
    service, client, _ = service
    problems = asks(client, target="digits-3v9", options={"epochs": 0, "method": "pfa-kll"})
    status, _, err = run_cli(
        *"adapt --source digits --target digits-3v9 --epochs 0 --method pfa-kll".split()
    )
    expected = [line.removeprefix("workbench: ") for line in err.splitlines()]
    assert (status, len(problems)) == (2, 3)
    assert problems[:2] == expected[:2]
    assert problems[2].startswith("no domain 'digits-3v9' in ")
    assert folders(service) == []


def test_unknown_options_and_wrong_values_are_reported_together(service):
    service, client, _ = service
    options = {"epoch": 1, "epochs": 0, "device": "cpu", "method": "pfa-kll", "only": [{"a": 1}]}
    problems = asks(client, target="digits-3v9", model="a.b:c", options=options)
    said = (
        "options: unknown option 'epoch'", "options: 'device' is set by the server",
        "only: is not a text", "model: 'a.b:c' cannot be used here", "--epochs 0", "'pfa-kll'",
        "no domain 'digits-3v9'",
    )  # fmt: skip
    assert [words for words in said if not any(words in each for each in problems)] == []
    assert len(problems) == len(said)
    assert folders(service) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model": "os.path:join"}, "cannot be used here"),
        ({"model": "timm:resnet18"}, "cannot be used here"),
        ({"options": {"model": "os.path:join"}}, "field of its own"),
        ({"options": {"tracking_uri": "sqlite:///x.db"}}, "set by the server"),
        ({"options": {"recipe_file": "/etc/passwd"}}, "set by the server"),
        ({"options": {"data_dir": "/etc"}}, "set by the server"),
        ({"options": {"domains": "/etc"}}, "set by the server"),
        ({"options": {"output": "/etc"}}, "set by the server"),
        ({"options": {"epoch": 1}}, "did you mean 'epochs'?"),
        ({"options": {"method": "taylor", "flops": 0.01}}, "taylor: no network is that small"),
        ({"options": {"epochs": "many"}}, "'many' is not a whole number"),
        ({"options": {"only": [{"a": 1}]}}, "is not a text"),
        ({"options": {"only": ["a\x1b"]}}, "cannot be printed"),
        ({"name": "a\u202e"}, "cannot be printed"),
        ({"name": "a" * 2000}, "more than 1000 characters"),
        ({"source": "/etc"}, "source: unknown value '/etc'"),
        ({"source": "../photos"}, "unknown value"),
        ({"target": "/etc"}, "no domain '/etc'"),
        ({"weights": "/etc/passwd"}, "neither an upload nor DEFAULT"),
        ({"weights": "root:w.safetensors"}, "has no --root folder"),
        ({"weights": "upload:../../job"}, "no upload"),
        ({"weights": f"upload:{'0' * 24}"}, "no upload"),
        ({"target": "S2"}, "not of digits"),
        ({"name": 3}, "name: Input should be a valid string"),
        ({"nme": "x"}, "nme: Extra inputs are not permitted"),
    ],
)
def test_what_a_client_may_not_ask_for(service, changed, said):
    service, client, _ = service
    answer = client.post("/api/jobs", json={**JOB, **changed})
    assert answer.status_code in (404, 422)
    assert any(said in problem for problem in answer.json()["problems"]), answer.text
    assert not service.queue.folder.path.exists() or folders(service) == []


def test_files_below_the_root_and_nowhere_else(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "models", outside):
        folder.mkdir(parents=True)
        save_file({"a": np.zeros(3, np.float32)}, folder / "w.safetensors")
    (root / "link.safetensors").symlink_to(outside / "w.safetensors")
    (root / "key.txt").write_text("secret")
    with serving(tmp_path / "service", root=root) as (_, client, _):
        (found,) = asks(client, weights="root:models/w.safetensors", options={"epochs": 1})
        assert "does not fit the network" in found
        assert str(tmp_path) not in found
        for name in (
            "../outside/w.safetensors", str(outside / "w.safetensors"), "link.safetensors",
            "missing.safetensors", "", ".", "x" * 900, "../root/../outside/w.safetensors",
        ):  # fmt: skip
            (problem,) = asks(client, weights=f"root:{name}")
            assert "that you may use" in problem
        assert "only .safetensors" in asks(client, weights="root:key.txt")[0]
        assert "that you may use" in asks(client, target="root:key.txt")[0]
        assert "that you may use" in asks(client, target="root:../outside")[0]


def test_an_uploaded_folder_becomes_a_domain(service):
    service, client, _ = service
    files = {"file": ("pets.zip", zipped(pets()))}
    upload = client.post("/api/uploads", files=files).json()
    job = client.post("/api/jobs", json={**JOB, "target": f"upload:{upload['id']}"}).json()
    assert job["title"] == "digits → pets"
    folder = service.queue.folder.of(job["id"])
    domain = yaml.safe_load((folder / "domains/pets.yaml").read_text())
    images = service.uploads.path(service.uploads.get(upload["id"]))
    assert (folder / "domains" / domain["folder"]).resolve() == images.resolve()
    assert yaml.safe_load((folder / "options.yaml").read_text())["target"] == "pets"
    rejected = client.delete(f"/api/uploads/{upload['id']}")
    assert (rejected.status_code, "needs this upload" in rejected.text) == (409, True)
    problems = asks(client, target=f"upload:{upload['id']}", name="../x")
    assert "may contain only letters" in problems[0]
    (kind,) = asks(client, weights=f"upload:{upload['id']}")
    assert "holds images, not weights" in kind


def test_jobs_survive_a_restart_of_the_server(tmp_path):
    folder, workers = tmp_path / "service", held_workers()
    with serving(folder, workers) as (_, client, made):
        ids = [client.post("/api/jobs", json=JOB).json()["id"] for _ in range(2)]
        until(lambda: len(made) == 1)
    assert made[0].stopped
    record = folder / "jobs" / ids[0] / "job.json"
    saved = json.loads(record.read_text())
    assert saved["state"] == "queued"
    record.write_text(json.dumps(saved | {"state": "running", "pid": 1}))  # as after a kill
    (folder / "jobs" / new_id()).mkdir()  # the rest of a request
    damaged = folder / "jobs" / new_id()
    damaged.mkdir()
    (damaged / "job.json").write_text("{}")
    with serving(folder, held_workers()) as (_, client, made):
        until(lambda: len(made) == 1)
        jobs = client.get("/api/jobs").json()
        assert [job["id"] for job in reversed(jobs)] == ids
        assert [job["state"] for job in reversed(jobs)] == ["running", "queued"]
        assert made[0].folder.name == ids[0]
    assert len(list((folder / "jobs").iterdir())) == 3


def test_a_worker_that_outlived_its_server_is_ended(tmp_path):
    """Only if it is a worker of this job: the number may belong to another process now."""
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, lambda *_: exit(7)); print(); "
        "time.sleep(60)"
    )

    def start(*words):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words], start_new_session=True, stdout=subprocess.PIPE
        )
        process.stdout.readline()
        return process

    other = start("--config", "elsewhere/options.yaml")
    end_orphan(other.pid, tmp_path / "job")
    with pytest.raises(subprocess.TimeoutExpired):
        other.wait(1)
    other.kill()
    worker = start("--config", f"{tmp_path}/job/options.yaml")
    end_orphan(worker.pid, tmp_path / "job")
    assert worker.wait(10) == 7
    for process in (other, worker):
        process.wait()
        process.stdout.close()


def test_a_failed_job_says_why(tmp_path, monkeypatch):
    """The real command fails; its messages are the job's problems."""
    from workbench.experiments.service.settings import ServiceSettings

    (tmp_path / "options.yaml").write_text("source: digits\ntarget: none\nepochs: 0\n")
    pids = []
    monkeypatch.setenv("WORKBENCH_TOKEN", "a-token-for-nobody-else")
    worker = Worker(
        ServiceSettings(tracking_uri=f"sqlite:///{tmp_path}/m.db"), tmp_path, pids.append
    )
    ended = worker.run(onnx=False)
    assert ended.run_id == ""
    assert ended.problems[0] == "--epochs 0 is too small; it must be at least 1"
    assert len(pids) == 1
    assert "WORKBENCH_TOKEN" not in worker._environment()
    worker.stop()
    assert Worker.run(worker, onnx=False).problems == (
        "the worker ended with status -15: no message",
    )


def test_names_from_users_are_escaped(tmp_path):
    folder = JobFolder(tmp_path / "service/jobs")
    job = Job(
        new_id(), "<script>alert(1)</script>", {**JOB, "model": "<b>", "weights": "", "name": ""}
    )
    folder.of(job.id).mkdir(parents=True)
    folder.write(job.ended_as("failed", "<img src=x onerror=alert(2)>\x1b[31m"))
    with serving(tmp_path / "service") as (_, client, _):
        for path in ("/", f"/jobs/{job.id}"):
            text = client.get(path).text
            assert "<script>alert" not in text
            assert "<img" not in text
            assert "&lt;script&gt;" in text


def test_the_form_keeps_what_was_filled_in(service):
    service, client, _ = service
    files = {"images": ("pets.zip", zipped(pets()))}
    data = {"source": "digits", "epochs": "none", "more": "tolerance: 2\nstages: int9\n"}
    answer = client.post("/new", data=data, files=files)
    assert answer.status_code == 422
    assert "&#39;none&#39; is not a whole number" in answer.text
    (upload,) = service.uploads.all()
    assert f'<option value="upload:{upload.id}" selected>' in answer.text
    assert "tolerance: 2\nstages: int9" in answer.text
    for more, said in (
        ("data_dir: /etc", "set by the server"),
        ("a b", "more options"),
        ("&a [*a]", ""),
    ):
        answer = client.post("/new", data={**data, "target": "digits-3v8", "more": more})
        assert (answer.status_code, said in answer.text) == (422, True)
    answer = client.post("/new", data={"source": "digits", "target": "digits-3v8", "epochs": "1"})
    assert answer.status_code == 303
    assert client.get(answer.headers["location"]).status_code == 200


def test_all_classes_of_the_source_can_be_the_target(service):
    service, client, _ = service
    job = client.post("/api/jobs", json={**JOB, "target": "digits"}).json()
    saved = yaml.safe_load((service.queue.folder.of(job["id"]) / "options.yaml").read_text())
    assert (saved["source"], saved["target"]) == ("digits", "digits")


def test_unknown_jobs_and_files(service):
    _, client, _ = service
    job = client.post("/api/jobs", json=JOB).json()["id"]
    files = (f"/api/jobs/{job}/files/{name}" for name in ("job.json", "..%2Fjob.json", "a.yaml"))
    for path in ("/api/jobs/x", *files, "/api/jobs/x/events", "/jobs/x", "/api/none"):
        assert client.get(path).status_code == 404, path
    assert client.get(f"/api/jobs/{job}/result").status_code == 409
    files = {"file": ("a.png", io.BytesIO(b"x"))}
    assert client.post(f"/api/jobs/{job}/predict", files=files).status_code == 409


def test_the_description_of_the_interface_is_complete(service):
    _, client, _ = service
    api = client.get("/openapi.json").json()
    assert {"/api/uploads", "/api/jobs", "/api/jobs/{job_id}/events"} <= api["paths"].keys()
    options = api["components"]["schemas"]["NewJob"]["properties"]["options"]["properties"]
    assert options["epochs"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert "data_dir" not in options
    page = client.get("/docs").text
    assert all(path in page for path in api["paths"])
    choices = client.get("/api/choices").json()
    assert set(choices["options"]) == options.keys()
    assert "digits-3v8" in choices["domains"]


def test_a_second_server_for_one_folder_is_rejected(run_cli, tmp_path):
    from workbench.experiments.service.server import _own_folder

    with _own_folder(tmp_path / "service"):
        status, _, err = run_cli("serve", "--port", 0, "--folder", tmp_path / "service")
    assert (status, "another server uses it" in err) == (2, True)
    assert os.listdir(tmp_path / "service") == [".lock"]


def test_records_are_plain_json(service):
    service, client, _ = service
    job = client.post("/api/jobs", json=JOB).json()["id"]
    saved = json.loads((service.queue.folder.of(job) / "job.json").read_text())
    assert saved["request"]["options"] == JOB["options"]
