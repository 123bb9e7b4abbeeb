"""A stand-in for the Kubernetes API server: pods of one namespace, to be read and merge-patched.

It shows what a controller asks and what it makes of the answers. Whether a real API server takes
it, with a real role, is what the test on a cluster shows.
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any, Self

NAMESPACE = "jobs"
TOKEN = "the-service-account's"

Annotations = dict[str, str]


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: "Cluster"

    def do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        *folder, pod = self.path.partition("?")[0].split("/")
        expected = ["", "api", "v1", "namespaces", NAMESPACE, "pods"]
        assert folder == expected, self.path
        assert self.headers["Authorization"] == f"Bearer {TOKEN}"
        self.cluster.asked.append((self.command, pod))
        status = self.cluster.refuses
        if status is None:
            status = 200 if pod in self.cluster.pods else 404
        if status != 200:
            self._answer(status, {"kind": "Status", "code": status, "message": f"{status} {pod}"})
            return
        annotations = self.cluster.pods[pod]
        if self.command == "PATCH":
            assert self.headers["Content-Type"] == "application/merge-patch+json"
            # RFC 7386: null removes.
            for name, value in json.loads(body)["metadata"]["annotations"].items():
                if value is None:
                    annotations.pop(name)
                else:
                    annotations[name] = value
        metadata = {"name": pod, "namespace": NAMESPACE, "annotations": annotations}
        self._answer(200, {"kind": "Pod", "apiVersion": "v1", "metadata": metadata})

    do_GET = do_PATCH = do  # noqa: N815

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class Cluster:
    def __init__(self, *pods: str, port: int = 0) -> None:
        self.pods: dict[str, Annotations] = {pod: {} for pod in pods}
        self.asked: list[tuple[str, str]] = []
        self.refuses: int | None = None
        """The status that everybody gets."""
        handler = type("Handler", (Answer,), {"cluster": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, args=[0.01], daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def kubeconfig(self) -> dict[str, Any]:
        context = {"cluster": "here", "user": "controller", "namespace": NAMESPACE}
        return {
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "controller", "user": {"token": TOKEN}}],
            "contexts": [{"name": "here", "context": context}],
        }

    def patched(self) -> list[str]:
        return [pod for method, pod in self.asked if method == "PATCH"]
