"""A cluster on this machine without Kubernetes: the pods of a rendered overlay as processes.

Commands, environment, mounted files and probes are those of the manifests and of the Dockerfiles. What is different:
addresses are loopback's, with ports that are free; a mount is a folder; nothing isolates a pod from another; tini, the
scheduler, limits and network rules are not there; time runs faster for the autoscaler, which stands for KEDA.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from math import ceil
from pathlib import Path
from typing import Any

from tests.deploy.manifests import Manifests, Workload
from tests.deploy.tools import ROOT
from tests.processes import members_of
from tests.valkey_server import free_port, valkey_binary

PROGRAMS = f"{valkey_binary().parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"


def image_variables(dockerfile: str) -> dict[str, str]:
    """The variables that an image sets."""
    text = (ROOT / dockerfile).read_text()
    block = re.search(r"^ENV ((?:.*\\\n)*.*)$", text[text.rindex("\nFROM ") :], re.M)
    assert block
    return dict(re.findall(r'(\w+)="?([^"\s\\]+)"?', block[1]))


class Pod:
    """A workload's container as a process."""

    def __init__(self, cluster: Cluster, workload: Workload, name: str) -> None:
        self.workload = workload
        self.name = name
        self.folder = cluster.folder / name
        self.folder.mkdir()
        self._cluster = cluster
        self._files: dict[Path, str] = {}
        self._mounts = {mount["mountPath"]: self._place(mount) for mount in workload.container["volumeMounts"]}
        for path, text in self._files.items():
            path.write_text(self.here(text))
        image = workload.container["image"]
        own = image_variables("Dockerfile.worker" if "worker" in image else "Dockerfile.api")
        variables = own | cluster.manifests.environment(workload, cluster.secrets)
        self.environment = {key: self.here(value) for key, value in variables.items()} | {"PATH": PROGRAMS}
        if "PYTHONPATH" in os.environ:
            self.environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
        self.log = self.folder / "log"
        self.was_killed = False
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [self.here(word) for word in workload.command()],
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _place(self, mount: Mapping[str, Any]) -> Path:
        volumes = {volume["name"]: volume for volume in self.workload.pod.get("volumes", [])}
        volume = volumes.get(mount["name"], {})
        if "emptyDir" in volume or "configMap" in volume:
            place = self.folder / str(mount["name"])
        else:  # a claim: kept, and shared by all that mount it
            place = self._cluster.folder / f"claim-{mount['name']}"
        place.mkdir(exist_ok=True)
        if "configMap" in volume:
            data = self._cluster.manifests.named("ConfigMap", volume["configMap"]["name"])["data"]
            self._files |= {place / name: text for name, text in data.items()}
        return place

    def here(self, text: str) -> str:
        """A text of the manifests with this machine's paths, addresses and ports."""
        places = {str(path): str(place) for path, place in self._mounts.items()} | self._cluster.addresses
        pattern = "|".join(rf"(?<![\w.]){re.escape(key)}(?![\w-])" for key in sorted(places, key=len, reverse=True))
        return re.sub(pattern, lambda match: places[match[0]], text)

    def answers(self, probe: str) -> bool:
        """Whether a probe is content."""
        asked = self.workload.container[probe]
        if "exec" in asked:
            command = [self.here(word) for word in asked["exec"]["command"]]
            done = subprocess.run(command, env=self.environment, cwd=self.folder, capture_output=True, timeout=60)
            return done.returncode == 0
        if "httpGet" not in asked:
            return self.process.poll() is None
        port = self._cluster.ports[self.workload.container["ports"][0]["containerPort"]]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{asked['httpGet']['path']}", timeout=10) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def end(self) -> None:
        """What a kubelet does: SIGTERM, and SIGKILL when the grace is over. Returns at once."""
        self.process.send_signal(signal.SIGTERM)
        self.deadline = time.monotonic() + float(self.workload.pod["terminationGracePeriodSeconds"])

    def has_ended(self) -> bool:
        """Whether it is gone; kills it when its grace is over."""
        if self.process.poll() is None and time.monotonic() > self.deadline:
            self.was_killed = True
            self.kill()
        return self.process.poll() is not None

    def kill(self) -> None:
        """SIGKILL to all that the pod is made of."""
        for pid in members_of(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


class Cluster:
    """The pods that run, and what they have in common."""

    def __init__(self, manifests: Manifests, folder: Path) -> None:
        self.manifests = manifests
        self.folder = folder
        self.ports = {port: free_port() for port in (6379, 8000, 5555)}
        self.addresses = {
            "optml-store:6379": f"127.0.0.1:{self.ports[6379]}",
            "bind * -::*": "bind 127.0.0.1",
            "6379": str(self.ports[6379]),
            "0.0.0.0": "127.0.0.1",  # noqa: S104 - what is replaced
            "8000": str(self.ports[8000]),
            "5555": str(self.ports[5555]),
        }
        self.secrets = {
            ("optml-store", "password"): secrets.token_hex(16),
            ("optml-flower", "basic-auth"): f"ada:{secrets.token_hex(8)}",
        }
        self.pods: list[Pod] = []
        self.ended: list[Pod] = []
        self._started = 0

    def start(self, component: str, probe: str = "readinessProbe") -> list[Pod]:
        """Start a component's replicas (an autoscaled one's smallest number), and wait until a probe is content."""
        pods = []
        for workload in self.manifests.of_component(component):
            least = [
                each["spec"]["minReplicas"]
                for each in self.manifests.of_kind("HorizontalPodAutoscaler")
                if each["spec"]["scaleTargetRef"]["name"] == workload.name
            ]
            # One process of the API: replicas share a Service's port, which a machine alone cannot.
            replicas = 1 if least else workload.spec.get("replicas", 1)
            pods += [self.start_pod(workload) for _ in range(replicas)]
        for pod in pods:
            self.until(lambda pod=pod: pod.answers(probe), f"{probe} of {pod.name}", pod)  # type: ignore[misc]
        return pods

    def start_pod(self, workload: Workload) -> Pod:
        """Start one more pod of a workload."""
        self._started += 1
        pod = Pod(self, workload, f"{workload.name}-{self._started}")
        self.pods.append(pod)
        return pod

    def of(self, workload: Workload) -> list[Pod]:
        """The pods of a workload that are meant to live."""
        return [pod for pod in self.pods if pod.workload is workload]

    def end(self, pod: Pod) -> None:
        """Tell a pod to end."""
        self.pods.remove(pod)
        self.ended.append(pod)
        pod.end()

    def reap(self) -> None:
        """Kill what did not end in its grace."""
        for pod in self.ended:
            pod.has_ended()

    def run(self, pod: Pod, *words: str) -> str:
        """A command inside a pod; what it prints."""
        done = subprocess.run(words, env=pod.environment, cwd=pod.folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def until(self, true: Callable[[], bool], what: str, pod: Pod, limit_s: float = 60.0) -> None:
        """Wait for something; the pod's log is shown when it does not come."""
        deadline = time.monotonic() + limit_s
        while not true():
            if time.monotonic() > deadline or pod.process.poll() is not None:
                raise AssertionError(f"no {what}:\n{pod.log.read_text()[-4000:]}")
            time.sleep(0.05)


class Autoscaler:
    """Stands for KEDA: asks each class's trigger what there is to do, and starts or ends pods."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._classes = [(self._workload(each), each["spec"]) for each in cluster.manifests.of_kind("ScaledObject")]
        self.seen: list[tuple[int, int]] = []  # trials to do, workers

    def _workload(self, scaled: Mapping[str, Any]) -> Workload:
        wanted = scaled["spec"]["scaleTargetRef"]["name"]
        (found,) = (each for each in self._cluster.manifests.workloads if each.name == wanted)
        return found

    def step(self) -> None:
        """One look at every class: as many pods as trials, at most the cap; one fewer at a time."""
        totals = 0
        for workload, spec in self._classes:
            (trigger,) = spec["triggers"]
            total = self._ask(trigger["metadata"])
            totals += total
            wanted = ceil(total / float(trigger["metadata"]["targetValue"]))
            wanted = max(spec["minReplicaCount"], min(spec["maxReplicaCount"], wanted))
            pods = self._cluster.of(workload)
            for _ in range(wanted - len(pods)):
                self._cluster.start_pod(workload)
            if wanted < len(pods):
                # Any of them, also one that is busy: an autoscaler does not know.
                self._cluster.end(pods[0])
        self._cluster.reap()
        self.seen.append((totals, self.workers()))

    def workers(self) -> int:
        """How many worker pods are meant to live."""
        return sum(len(self._cluster.of(workload)) for workload, _ in self._classes)

    def _ask(self, metadata: Mapping[str, str]) -> int:
        assert metadata["authMode"] == "bearer"
        path = re.sub(r"^http://optml-api\.optml\.svc\.cluster\.local:8000", "", metadata["url"])
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._cluster.ports[8000]}{path}",
            headers={"Authorization": f"Bearer {self._cluster.secrets['optml-viewer', 'token']}"},
        )
        with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310 - loopback
            return int(json.load(response)[metadata["valueLocation"]])


@contextmanager
def cluster(manifests: Manifests, folder: Path) -> Iterator[Cluster]:
    """The store, two controllers, the API and Flower, all ready; whatever runs at the end is killed."""
    running = Cluster(manifests, folder)
    try:
        running.start("store")
        running.start("controller")
        (api,) = running.start("api")
        made = json.loads(running.run(api, "optml", "token", "create", "keda", "--json"))
        running.secrets["optml-viewer", "token"] = made["token"]
        running.start("flower")
        yield running
    finally:
        for pod in running.pods + running.ended:
            pod.kill()
