"""A master on this machine: a web server that answers as cryosparc-tools asks, with real tables and files.

cryosparc-tools builds its calls from the description a master serves at ``/openapi.json``; this one describes the calls
the runner uses, by their public names, and answers them with the tools' own models and data sets. Jobs go from building
through queued and running to their end, a step at each look; interactive ones wait for their calls.
"""

from __future__ import annotations

import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.plugins.cryosparc.outputs import OUTPUTS, make_output
from tests.plugins.cryosparc.projects import job_5

ROOT = "/api/cmd"
INTERACTIVE = {"curate_exposures_v2": "shutdown_interactive", "inspect_picks_v2": "shutdown_interactive",
               "select_2D": "finish"}  # fmt: skip
_JOB = {"$ref": "#/components/schemas/Job"}
_USER = {
    "_id": "u1", "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "emails": [],
    "services": {"password": {"bcrypt": "x"}}, "profile": {"name": "t"}, "roles": {},
}  # fmt: skip
REGISTER: dict[str, tuple[list[str], list[str]]] = {
    "import_movies": ([], ["blob_paths", "gainref_path", "gainref_flip_x", "gainref_flip_y", "gainref_rotate_num",
                           "psize_A", "accel_kv", "cs_mm", "total_dose_e_per_A2"]),
    "import_particles": ([], ["particle_meta_path", "particle_blob_path"]),
    "import_volumes": ([], ["volume_blob_path", "volume_type"]),
    "patch_motion_correction_multi": (["movies"], ["compute_num_gpus"]),
    "patch_ctf_estimation_multi": (["exposures"], ["amp_contrast", "df_search_min", "df_search_max"]),
    "curate_exposures_v2": (["exposures"], []),
    "blob_picker_gpu": (["micrographs"], ["diameter", "diameter_max", "use_circle", "use_ellipse", "use_ring",
                                          "min_distance"]),
    "template_picker_gpu": (["micrographs", "templates"], ["diameter", "min_distance"]),
    "inspect_picks_v2": (["micrographs", "particles"], []),
    "extract_micrographs_multi": (["micrographs", "particles"], ["box_size_pix", "bin_size_pix"]),
    "class_2D_new": (["particles"], ["class2D_K", "random_seed"]),
    "select_2D": (["particles", "templates"], []),
    "homo_abinit": (["particles"], ["abinit_K", "abinit_symmetry", "random_seed"]),
    "homo_refine_new": (["particles", "volume", "mask"], ["refine_symmetry", "random_seed"]),
    "nonuniform_refine_new": (["particles", "volume", "mask"], ["refine_symmetry", "random_seed"]),
}  # fmt: skip


def _call(
    name: str, path: str, method: str = "get", query: tuple[str, ...] = (), body: str = "", result: Any = None
) -> tuple[str, str, dict[str, Any]]:
    """One call as OpenAPI describes it."""
    places = [{"name": part, "in": "path", "required": True} for part in re.findall(r"{(\w+)}", path)]
    asked = [{"name": part, "in": "query", "required": False} for part in query]
    kind = "application/json" if result is None or isinstance(result, dict) else str(result)
    schema = result if isinstance(result, dict) else {}
    described: dict[str, Any] = {
        "summary": name,
        "parameters": [*places, *asked],
        "responses": {
            str(code): {"content": {kind if code == 200 else "application/json": {"schema": schema}}}
            for code in (200, 400, 401, 402, 404, 500)
        },
    }
    if body:
        mime = "application/x-www-form-urlencoded" if body == "form" else "application/json"
        described["requestBody"] = {"content": {mime: {"schema": {"title": body}}}, "required": False}
    return path, method, described


CALLS = [
    _call("login", "/login", "post", body="form", result={"$ref": "#/components/schemas/Token"}),
    _call("users.me", "/users/me"),
    _call("config.get_version", "/config/version", result={"type": "string"}),
    _call("job_register", "/register", result={"$ref": "#/components/schemas/JobRegister"}),
    _call("jobs.create", "/projects/{p}/workspaces/{w}/jobs", "post", ("type", "title", "description"), "Params", _JOB),
    _call("jobs.connect", "/projects/{p}/jobs/{j}/inputs/{i}", "post",
          ("source_output_name", "source_job_uid"), result=_JOB),
    _call("jobs.enqueue", "/projects/{p}/jobs/{j}/enqueue", "post", ("lane", "hostname", "gpus"), result=_JOB),
    _call("jobs.find_one", "/projects/{p}/jobs/{j}", result=_JOB),
    _call("jobs.clear", "/projects/{p}/jobs/{j}/clear", "post", result=_JOB),
    _call("jobs.interactive_post", "/projects/{p}/jobs/{j}/interact", "post", ("endpoint", "timeout"), "Body"),
    _call("jobs.load_output", "/projects/{p}/jobs/{j}/outputs/{o}", query=("version", "slots"),
          result="application/x-cryosparc-dataset"),
    _call("projects.find_one", "/projects/{p}"),
    _call("projects.get_directory", "/projects/{p}/directory", result={"type": "string"}),
    _call("projects.download_file", "/projects/{p}/file", query=("path",), result="application/octet-stream"),
]  # fmt: skip


class FakeMaster:
    """What the server knows. ``failing`` job types fail, ``unlicensed`` ones wait, ``deaf`` closes connections."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: dict[str, dict[str, Any]] = {}
        self.failing: set[str] = set()
        self.unlicensed: set[str] = set()
        self.held: set[str] = set()
        self.refuse_enqueue = ""
        self.refuse_login = ""
        self.deaf = False
        self.asked: list[str] = []
        self.interactions: list[tuple[str, str, Any]] = []

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """The jobs of a type, in the order they were made."""
        return [job for job in self.jobs.values() if job["spec"]["type"] == kind]

    def create(self, query: dict[str, str], parameters: dict[str, Any]) -> dict[str, Any]:
        uid = f"J{len(self.jobs) + 1}"
        job = job_5(uid, query["type"], params=parameters, status="building", title=query.get("title", ""))
        self.jobs[uid] = job | {"started_at": None, "completed_at": None}
        return self.jobs[uid]

    def look(self, uid: str) -> dict[str, Any]:
        """The job, one step further than at the last look."""
        job = self.jobs[uid]
        kind, status = job["spec"]["type"], job["status"]
        if kind in self.unlicensed and status == "queued":
            job |= {"queue_status": "waiting_licenses", "queue_message": "Waiting for licenses"}
        elif status == "queued":
            job |= {"status": "waiting" if kind in INTERACTIVE else "running", "started_at": "2026-03-01T10:00:00Z"}
        elif status == "running" and kind in self.failing:
            job |= {"status": "failed", "errors_run": [{"message": "CUDA out of memory", "warning": False}]}
        elif status == "running" and kind not in self.held:
            self.finish(job)
        return job

    def finish(self, job: dict[str, Any]) -> None:
        job |= {"status": "completed", "completed_at": "2026-03-01T10:01:40Z"}
        statistics = {"fsc_info_best": {"radwn_final_A": 3.25}} if "refine" in job["spec"]["type"] else {}
        job["spec"]["outputs"] = {
            name: {"type": "particle", "title": name, "num_items": 1, "latest_summary_stats": statistics}
            for name in OUTPUTS.get(job["spec"]["type"], ())
        }

    def interact(self, uid: str, endpoint: str, body: Any) -> Any:
        job = self.jobs[uid]
        self.interactions.append((job["spec"]["type"], endpoint, body))
        if endpoint == INTERACTIVE.get(job["spec"]["type"]):
            self.finish(job)
        if endpoint == "get_class_info":
            return [{"class_idx": k, "res_A": 6.0 + 5 * k, "num_particles_total": 40 - 10 * k} for k in range(3)]
        if endpoint == "get_fields_and_thresholds":
            return {"fields": [
                {"name": "idx", "title": "Index", "active": False, "range": [0, 9], "thresholds": [0, 9]},
                {"name": "ctf_fit_to_A", "title": "CTF fit resolution (A)", "active": False, "range": [2.0, 20.0],
                 "thresholds": [2.0, 20.0]},
            ]}  # fmt: skip
        return None


class _Handler(BaseHTTPRequestHandler):
    master: FakeMaster

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._serve("get")

    def do_POST(self) -> None:
        self._serve("post")

    def _serve(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.master.deaf:
            self.close_connection = True
            return
        url = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path.removeprefix(ROOT))
        query = dict(urllib.parse.parse_qsl(url.query))
        if path == "/openapi.json":
            paths: dict[str, Any] = {}
            for place, verb, described in CALLS:
                paths.setdefault(place, {})[verb] = described
            self._json({"info": {}, "components": {}, "paths": paths})
            return
        for place, verb, described in CALLS:
            found = re.fullmatch(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", place), path)
            if verb == method and found:
                self.master.asked.append(str(described["summary"]))
                self._answer(str(described["summary"]), found.groupdict(), query, body)
                return
        self._json({"detail": "no such call"}, 404)

    def _answer(self, name: str, place: dict[str, str], query: dict[str, str], body: bytes) -> None:
        master, uid = self.master, place.get("j", "")
        if name == "login":
            self._json({"detail": master.refuse_login}, 401) if master.refuse_login else self._json(
                {"access_token": "t", "token_type": "bearer"}
            )
        elif self.headers.get("Authorization") != "Bearer t":
            self._json({"detail": "not logged in"}, 401)
        elif name == "jobs.enqueue" and master.refuse_enqueue:
            self._json({"detail": master.refuse_enqueue}, 402)
        elif name == "jobs.load_output":
            self._bytes(b"".join(make_output(master.jobs[uid], place["o"], master.folder).stream()))
        elif name == "projects.download_file":
            self._bytes((master.folder / query["path"]).read_bytes())
        else:
            self._json(self._document(name, place, query, json.loads(body) if body and body[:1] in b"{[" else {}))

    def _document(self, name: str, place: dict[str, str], query: dict[str, str], body: Any) -> Any:
        master, uid = self.master, place.get("j", "")
        if name == "users.me":
            return _USER
        if name == "config.get_version":
            return "v5.0.3"
        if name == "job_register":
            return register()
        if name == "projects.get_directory":
            return str(master.folder)
        if name == "projects.find_one":
            return {"uid": place["p"]}
        if name == "jobs.create":
            return master.create(query, body)
        if name == "jobs.interactive_post":
            return master.interact(uid, query["endpoint"], body)
        job = master.jobs[uid]
        if name == "jobs.connect":
            link = {"job_uid": query["source_job_uid"], "output": query["source_output_name"]}
            inputs = job["spec"].setdefault("inputs", {})
            inputs.setdefault(place["i"], {"type": "particle", "title": "", "connections": []})["connections"] += [link]
        elif name == "jobs.enqueue":
            job |= {"status": "queued", "queued_to_lane": query.get("lane"), "queued_at": "2026-03-01T09:59:50Z"}
        elif name == "jobs.clear":
            job |= {"status": "building", "errors_run": []}
        elif name == "jobs.find_one":
            return master.look(uid)
        return job

    def _json(self, document: Any, status: int = 200) -> None:
        self._bytes(json.dumps(document).encode(), status, "application/json")

    def _bytes(self, content: bytes, status: int = 200, kind: str = "application/octet-stream") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def register() -> dict[str, Any]:
    """The register of job types, as the tools' model reads it."""
    specs = [
        {
            "type": kind, "title": kind, "shorttitle": kind, "description": "", "stability": "stable",
            "category": "import", "outputs": {},
            "inputs": {name: {"type": "particle", "title": name} for name in inputs},
            "params": {name: {"title": name} for name in parameters},
        }
        for kind, (inputs, parameters) in REGISTER.items()
    ]  # fmt: skip
    return {"specs": specs, "categories": {"import": "Import"}}


@contextmanager
def serving(folder: Path) -> Iterator[tuple[FakeMaster, str]]:
    """A master over ``folder`` as its project's directory, and its address."""
    folder.mkdir(parents=True, exist_ok=True)
    master = FakeMaster(folder)
    handler = type("Handler", (_Handler,), {"master": master})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield master, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
