"""What an overlay is made from, checked and with every default filled in. Made by `load_answers` from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from optml_queue.deploy.timing import Timing


@dataclass(frozen=True, slots=True)
class ResourceClass:
    """One kind of worker. `memory_mib` and `scratch_mib` are MiB; prices have no currency here."""

    name: str
    cpu: float
    memory_mib: int
    scratch_mib: int
    gpu: int
    is_spot: bool
    most: int
    image: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Volume:
    """An archive on a volume that all pods share."""

    size: str
    access_mode: str
    storage_class: str


@dataclass(frozen=True, slots=True)
class External:
    """A store outside of the cluster: the Secret whose key `url` is its URL, and the addresses it may have."""

    secret: str
    cidr: str
    port: int


@dataclass(frozen=True, slots=True)
class Queues:
    """Where SQS queues are."""

    region: str
    prefix: str
    account: str


@dataclass(frozen=True, slots=True)
class Ingress:
    """How people outside reach the API."""

    host: str
    controller: str
    tls_secret: str


@dataclass(frozen=True, slots=True)
class Answers:
    """All that an overlay follows from, checked and with every default filled in."""

    worker_image: str
    api_image: str
    valkey_image: str
    broker: str
    store: External | None
    sqs: Queues | None
    archive: str | Volume
    aws_secret: str
    aws_roles: Mapping[str, str]
    classes: tuple[ResourceClass, ...]
    trigger: str
    timing: Timing
    allow_programs: bool
    ingress: Ingress | None
    monitoring: bool
    flower: bool
    dashboard: bool
