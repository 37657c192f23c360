"""The service as a user has it: the real command, real trainings, a browser, and a kill."""

import io
import json
import re
import shutil
import signal
import subprocess
from pathlib import Path

import httpx
import pytest
from PIL import Image
from safetensors import safe_open
from service_parts import until
from test_service_uploads import zipped

import workbench
from workbench.store.mlflow_store import Store
from workbench.store.runs import KILLED
from workbench.store.stored_results import REPORT_FILE

PAGE = Path(workbench.__file__).parents[1] / "docs/service.md"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
QUICK = {
    "source_epochs": 1, "epochs": 1, "batch_size": 8, "schedule": "one-cycle",
    "protocols": "full-fine,pfa-fine",
}  # fmt: skip


class Live:
    """The server in a folder, which can be killed and started again."""

    def __init__(self, folder, warm):
        self.folder, self._warm, self.url, self._process = folder, warm, "", None

    def start(self):
        self._process = self._warm.spawn("serve", "--port", "0", cwd=self.folder)
        self.url = self._process.stdout.readline().split()[2]

    def end(self, number):
        """Send a signal to the server; return its exit status and stderr."""
        self._process.send_signal(number)
        _, err = self._process.communicate(timeout=60)
        return self._process.returncode, err

    def get(self, path):
        answer = httpx.get(f"{self.url}{path}", timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path, **what):
        answer = httpx.post(f"{self.url}{path}", timeout=60, **what)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def workers(self):
        """Command lines of the workers that are running."""
        found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
        return [row for row in found.stdout.splitlines() if f"{self.folder}/mlruns/service" in row]


@pytest.fixture(scope="module")
def live(tmp_path_factory, _empty_store, warm):
    folder = tmp_path_factory.mktemp("live")
    (folder / "mlruns").mkdir()
    shutil.copyfile(_empty_store(), folder / "mlruns/mlflow.db")
    (folder / "pets.zip").write_bytes(zipped(stripes()))
    Path(folder / "photo.png").write_bytes(stripes()["dog/0.png"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        for name in ("WORKBENCH_TOKEN", "WORKBENCH_DOMAINS", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        server = Live(folder, warm)
        server.start()
        yield server
        status, err = server.end(signal.SIGINT)
    assert (status, "Traceback" in err) == (130, False), err
    assert server.workers() == []


def stripes():
    """Small images of two classes that differ in the direction of their stripes."""
    found = {}
    for label, name in enumerate(("cat", "dog")):
        for number in range(10):
            image = Image.new("L", (16, 16), 20 * number)
            for at in range(0, 16, 4):
                image.paste(255, (at, 0, at + 2, 16) if label else (0, at, 16, at + 2))
            content = io.BytesIO()
            image.save(content, "PNG")
            found[f"{name}/{number}.png"] = content.getvalue()
    return found


@pytest.fixture(scope="module")
def documented(live):
    """Run the example of the documentation as it is written; its output."""
    (example,) = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert example.count("http://127.0.0.1:8000") == 1
    example = example.replace("http://127.0.0.1:8000", live.url)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example],
        cwd=live.folder, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


needs_page = pytest.mark.skipif(not PAGE.is_file(), reason="needs the docs of a checkout")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


@needs_page
@needs_curl
def test_the_documented_calls_work_as_written(live, documented):
    events = [json.loads(text) for text in re.findall(r"^data: (.*)$", documented, re.MULTILINE)]
    states = [event["state"] for event in events]
    assert list(dict.fromkeys(states)) in (["queued", "running", "done"], ["running", "done"])
    lines = [line for event in events if event["progress"] for line in event["progress"]["lines"]]
    assert any(line.startswith("pfa-fine · pets · seed 0: 1/1 loss") for line in lines)
    shares = [event["progress"]["done"] for event in events if event["progress"]]
    assert shares == sorted(shares)
    assert shares[-1] > 0
    assert any(event["progress"]["step"] for event in events if event["progress"])
    with safe_open(live.folder / "weights.safetensors", "np") as weights:
        assert json.loads(weights.metadata()["workbench"])["classes"] == ["cat", "dog"]
    assert (live.folder / "network.onnx").stat().st_size > 1000
    files = json.loads(re.search(r"^\[\{.*?\}\]", documented, re.MULTILINE)[0])
    assert {"recipe.json", "options.yaml", "log.txt"} <= {file["name"] for file in files}
    prediction = json.loads(documented[documented.rindex('{"classes"') :])
    assert set(prediction["classes"]) == {"cat", "dog"}
    (found,) = workbench.predict(
        str(live.folder / "weights.safetensors"), [live.folder / "photo.png"], top=2
    )
    assert prediction["probabilities"] == pytest.approx(found.probabilities, abs=1e-6)


@needs_page
@needs_curl
def test_answers_contain_no_place_on_the_server(live, documented):
    (job,) = live.get("/api/jobs")
    url = f"{live.url}/api/jobs/{job['id']}"
    texts = [documented, *(httpx.get(f"{url}/{path}").text for path in (
        "", "result", "files/options.yaml", "files/log.txt", "files/recipe.json"
    ))]  # fmt: skip
    assert not any(str(live.folder) in text for text in texts)


@needs_page
@needs_curl
def test_a_report_is_shown_in_a_sandbox(live, documented):
    """The report is an artifact of the adaptation's run."""
    (job,) = live.get("/api/jobs")
    store = Store(f"sqlite:///{live.folder}/mlruns/mlflow.db")
    if REPORT_FILE not in [file["name"] for file in live.get(f"/api/jobs/{job['id']}/files")]:
        store.attach_text(job["run_id"], REPORT_FILE, "<h1>Report</h1>")
    answer = httpx.get(f"{live.url}/api/jobs/{job['id']}/files/{REPORT_FILE}")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts")
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy
    assert "Open the report" in httpx.get(f"{live.url}/jobs/{job['id']}").text


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_user_uploads_watches_downloads_and_predicts(live):
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    before = len(live.get("/api/jobs"))
    trouble = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on(
            "request",
            lambda request: request.url.startswith(live.url) or trouble.append(request.url),
        )

        def check(name):
            found = Axe().run(page).response["violations"]
            trouble.extend(
                (name, item["id"]) for item in found if item["impact"] in ("serious", "critical")
            )
            width = page.evaluate("document.documentElement.scrollWidth")
            if width > 390:
                trouble.append((name, "wider than the screen", width))

        page.goto(live.url)
        check("jobs")
        page.get_by_role("link", name="New job").first.click()
        check("form")
        page.get_by_label("Upload images").set_input_files(live.folder / "pets.zip")
        for label in ("Epochs", "Source epochs"):
            page.get_by_label(label, exact=True).fill("1")
        page.get_by_label("Batch size").fill("8")
        page.get_by_label("Schedule").select_option("one-cycle")
        page.get_by_text("More options").click()
        page.get_by_label("Options of workbench adapt").fill("protocols: full-fine,pfa-fine")
        page.get_by_label("ONNX").uncheck()  # takes seconds
        page.get_by_role("button", name="Start").click()
        page.wait_for_url("**/jobs/*")
        check("running job")
        page.get_by_role("heading", name="Verdict").wait_for(timeout=120_000)
        check("finished job")
        assert page.locator("tr.recommended").count() == 1
        with page.expect_download() as download:
            page.get_by_role("link", name="weights.safetensors").click()
        assert Path(download.value.path()).stat().st_size > 1000
        page.get_by_label("Image", exact=True).set_input_files(live.folder / "photo.png")
        page.get_by_role("button", name="Predict").click()
        page.locator("[data-prediction]").wait_for()
        check("prediction")
        assert re.search(r"(cat|dog)\s+\d+\.\d %", page.locator("[data-prediction]").inner_text())
        browser.close()
    assert trouble == []
    jobs = live.get("/api/jobs")
    assert len(jobs) == before + 1
    if before:  # the same job as the documented one: its trainings are reused
        assert live.get(f"/api/jobs/{jobs[0]['id']}/result")["trained"] == 0
        assert jobs[0]["run_id"] == jobs[1]["run_id"]


def test_a_killed_server_continues_its_jobs_and_a_cancelled_run_is_killed(live):
    options = QUICK | {"epochs": 4000, "protocols": "full-scratch", "batch_size": 32}
    job = live.post(
        "/api/jobs",
        json={"source": "digits", "target": "digits-3v8", "onnx": False, "options": options},
    )
    url = f"/api/jobs/{job['id']}"

    def is_training():
        progress = live.get(url)["progress"] or {"step": "", "message": ""}
        return progress["step"].startswith("full-") and progress["message"]

    until(is_training)
    assert live.end(signal.SIGKILL)[0] == -signal.SIGKILL
    live.start()
    assert len(live.workers()) <= 1  # that of the killed server has ended
    assert live.get(url)["state"] in ("queued", "running")
    until(is_training)
    live.post(f"{url}/cancel")
    until(lambda: live.get(url)["state"] == "cancelled")
    assert live.workers() == []
    store = Store(f"sqlite:///{live.folder}/mlruns/mlflow.db")
    runs = store.runs(list(store.experiments().values()), {"workbench.kind": "adapt"})
    assert KILLED in [run.status for run in runs]
