"""YAML → Answers, read like a spec: every problem is told at once, each with its line."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path

from optml_queue.deploy.answers import Answers, External, Ingress, Queues, ResourceClass, Volume
from optml_queue.deploy.budget import Claim, most_workers
from optml_queue.deploy.timing import Timing
from optml_queue.errors import Problem, SpecError
from optml_queue.spec.document import MAX_BYTES, DocumentError, Node, compose, decode, shortened
from optml_queue.spec.duration import duration_s
from optml_queue.spec.section import Report, Section, nearest

BROKERS = ("in-cluster", "redis", "sqs")
TRIGGERS = ("backlog", "redis", "sqs")
ACCESS_MODES = ("ReadWriteMany", "ReadWriteOnce")
SERVICES = ("api", "controller", "worker")
VALKEY_IMAGE = "docker.io/valkey/valkey:8.1"
MAX_WORKERS = 10_000

_KEYS = (
    "images", "broker", "store", "sqs", "archive", "aws_secret", "aws_roles", "classes", "budget_per_hour", "scaling",
    "times", "allow_programs", "ingress", "monitoring", "flower", "dashboard",
)  # fmt: skip
_CLASS_KEYS = (
    "cpu", "memory", "scratch", "gpu", "spot", "price_per_hour", "budget_per_hour", "share", "max_workers", "image",
    "node_selector",
)  # fmt: skip
_SPELLINGS = {
    "class": "classes is a mapping of names to resources",
    "workers": "write classes: {NAME: {cpu: 1, memory: 2Gi, max_workers: 10}}",
    "queue": "queues follow from the classes' names",
    "budget": "say of which time: budget_per_hour",
    "redis": "write broker: redis, and where it is under store",
    "keda": "write scaling: {trigger: backlog}",
}
_CLASS_SPELLINGS = {
    "replicas": "the backlog says how many; the most there may be are max_workers",
    "max": "write max_workers",
    "max_replicas": "write max_workers",
    "price": "say of which time: price_per_hour",
    "budget": "say of which time: budget_per_hour",
    "gpus": "write gpu",
    "cpus": "write cpu",
}
# Kubernetes' own letters for an object's name; suffixes come behind a class's.
_CLASS = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_OBJECT = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
_MEMORY = re.compile(r"([1-9][0-9]*)(Mi|Gi|Ti)")
_IMAGE = re.compile(r"[a-z0-9][a-z0-9._/:-]*(:[A-Za-z0-9_][A-Za-z0-9._-]*|@sha256:[0-9a-f]{64})")
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]+[a-z0-9](/[^\s?#@]*)?")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]")
_MEBIBYTES = {"Mi": 1, "Gi": 1024, "Ti": 1024**2}


def load_answers(path: Path | str) -> Answers:
    """The answers in a YAML file. Raises SpecError with every problem that was found."""
    try:
        with Path(path).open("rb") as file:
            text = decode(file.read(MAX_BYTES + 1))
    except OSError as error:
        raise SpecError(str(path), [Problem("", f"cannot be read: {error.strerror or error}")]) from None
    except DocumentError as error:
        raise SpecError(str(path), [error.problem]) from None
    return parse_answers(text, str(path))


def parse_answers(text: str, source: str) -> Answers:
    """The answers in a YAML text; `source` names it in messages. Raises SpecError with every problem found."""
    report = Report()
    try:
        root, report.problems = compose(text)
    except DocumentError as error:
        raise SpecError(source, [error.problem]) from None
    answers = _Reader(Section(root, "", report)).answers()
    if report.problems:
        raise SpecError(source, sorted(report.problems, key=lambda problem: problem.line))
    return answers


class _Reader:
    """Reads the keys of one file; defaults stand in for what has a problem."""

    def __init__(self, root: Section) -> None:
        self._root = root
        self._report = root.report

    def answers(self) -> Answers:
        root = self._root
        root.refuse_others(_KEYS, _SPELLINGS)
        worker_image, api_image, valkey_image = self._images()
        broker = root.choice("broker", BROKERS, BROKERS[0])
        classes = self._classes()
        return Answers(
            worker_image=worker_image,
            api_image=api_image,
            valkey_image=valkey_image,
            broker=broker,
            store=self._store(broker),
            sqs=self._sqs(broker),
            archive=self._archive(),
            aws_secret=self._named(root, "aws_secret", ""),
            aws_roles=self._aws_roles(),
            classes=classes,
            trigger=self._trigger(broker, classes),
            timing=self._timing(any(each.is_spot for each in classes)),
            allow_programs=root.flag("allow_programs"),
            ingress=self._ingress(),
            monitoring=root.flag("monitoring"),
            flower=root.flag("flower"),
            dashboard=root.flag("dashboard"),
        )

    def _section(self, key: str, known: tuple[str, ...]) -> Section:
        section = self._root.section(key) or Section(Node({}), key, self._report)
        section.refuse_others(known, {})
        return section

    def _images(self) -> tuple[str, str, str]:
        if "images" not in self._root:
            self._report.add(self._root.node, "images", "is missing", "as in images: {worker: …, api: …}")
            return "", "", ""
        images = self._section("images", ("worker", "api", "valkey"))
        worker, api = (self._image(images, key) for key in ("worker", "api"))
        return worker, api, self._image(images, "valkey", VALKEY_IMAGE)

    def _image(self, section: Section, key: str, default: str = "") -> str:
        image = section.text(key, default)
        if not _IMAGE.fullmatch(image) or image.endswith(":latest"):
            advice = "as in registry.example.com/optml-worker:0.1.0 or …@sha256:…"
            said = f"must name an image with a version or digest, got {shortened(image)!r}" if image else "is missing"
            section.problem(key, said, advice)
        return image

    def _named(self, section: Section, key: str, default: str) -> str:
        name = section.text(key, default)
        if name and not _OBJECT.fullmatch(name):
            section.problem(key, f"must be the name of a Secret, got {shortened(name)!r}", "a-z, 0-9, '-' and '.'")
        return name

    def _store(self, broker: str) -> External | None:
        if broker == "in-cluster":
            if "store" in self._root:
                self._root.problem("store", "belongs to broker: redis and sqs", "leave it out: it is in the cluster")
            return None
        section = self._section("store", ("secret", "cidr", "port"))
        if "cidr" not in section:
            section.problem("cidr", "is missing: network rules need the store's addresses", "as in cidr: 10.0.0.0/16")
        cidr = section.text("cidr")
        try:
            ipaddress.ip_network(cidr or "10.0.0.0/8")
        except ValueError as error:
            section.problem("cidr", f"must be a network, got {shortened(cidr)!r} ({error})", "as in 10.0.0.0/16")
        secret = self._named(section, "secret", "optml-store")
        return External(secret, cidr, section.integer("port", 1, 65_535) or 6379)

    def _sqs(self, broker: str) -> Queues | None:
        if broker != "sqs":
            if "sqs" in self._root:
                self._root.problem("sqs", "belongs to broker: sqs", "leave it out, or write broker: sqs")
            return None
        section = self._section("sqs", ("region", "prefix", "account"))
        region, prefix = section.text("region"), section.text("prefix")
        if not _REGION.fullmatch(region):
            said = f"must be a region, got {shortened(region)!r}" if region else "is missing"
            section.problem("region", said, "as in region: eu-central-1")
        if not re.fullmatch(r"[A-Za-z0-9_-]{0,29}", prefix):
            section.problem("prefix", f"must be at most 29 letters, digits, - and _, got {shortened(prefix)!r}")
        account = section.text("account")
        if account and not re.fullmatch(r"[0-9]{12}", account):
            section.problem("account", f"must be 12 digits in quotes, got {shortened(account)!r}")
        return Queues(region, prefix, account)

    def _archive(self) -> str | Volume:
        node = self._root.get("archive")
        if node is None:
            if "archive" not in self._root:
                advice = "as in archive: s3://bucket/optml, or archive: {volume: 20Gi}"
                self._report.add(self._root.node, "archive", "is missing", advice)
            return ""
        if not isinstance(node.value, dict):
            url = self._root.text("archive")
            if url and not _BUCKET.fullmatch(url):
                said = f"must be s3://BUCKET/PREFIX, got {shortened(url)!r}"
                self._root.problem("archive", said, "or a volume that pods share: {volume: 20Gi}")
            return url
        section = self._section("archive", ("volume", "access_mode", "storage_class"))
        self._mebibytes(section, "volume")
        storage_class = self._named(section, "storage_class", "")
        return Volume(
            section.text("volume"), section.choice("access_mode", ACCESS_MODES, "ReadWriteMany"), storage_class
        )

    def _aws_roles(self) -> dict[str, str]:
        if "aws_roles" not in self._root:
            return {}
        if "aws_secret" in self._root:
            self._root.problem("aws_roles", "takes the place of aws_secret", "give one of the two")
        section = self._section("aws_roles", SERVICES)
        roles = {name: section.text(name) for name in SERVICES}
        for name, role in roles.items():
            if not _ROLE.fullmatch(role):
                said = f"must be a role's ARN, got {shortened(role)!r}" if role else "is missing"
                section.problem(name, said, f"as in {name}: arn:aws:iam::123456789012:role/optml-{name}")
        return roles

    def _mebibytes(self, section: Section, key: str, default: str = "") -> int:
        text = section.text(key, default)
        match = _MEMORY.fullmatch(text)
        if match is None:
            said = f"must be an amount in Mi, Gi or Ti, got {shortened(text)!r}" if text else "is missing"
            section.problem(key, said, f"as in {key}: 2Gi")
            return 1
        return int(match[1]) * _MEBIBYTES[match[2]]

    # Classes

    def _classes(self) -> tuple[ResourceClass, ...]:
        section = self._root.section("classes")
        if section is None or not section.entries:
            advice = "as in classes: {cpu-small: {cpu: 1, memory: 2Gi, max_workers: 10}}"
            if section is not None or "classes" not in self._root:
                self._root.problem("classes", "is missing or empty", advice)
            return ()
        sections = {name: Section(node, section.key(name), self._report) for name, node in section.entries.items()}
        for name, each in sections.items():
            if not _CLASS.fullmatch(name):
                section.problem(name, f"must be at most 40 of a-z, 0-9 and '-', got {shortened(name)!r}")
            each.refuse_others(_CLASS_KEYS, _CLASS_SPELLINGS)
        caps = self._caps(sections)
        return tuple(self._class(name, each, caps.get(name, 1)) for name, each in sections.items())

    def _class(self, name: str, section: Section, most: int) -> ResourceClass:
        selector = section.section("node_selector")
        labels = {key: selector.text(key) for key in selector.entries} if selector else {}
        return ResourceClass(
            name=name,
            cpu=self._positive(section, "cpu", 1.0) or 1.0,
            memory_mib=self._mebibytes(section, "memory"),
            scratch_mib=self._mebibytes(section, "scratch", "8Gi"),
            gpu=section.integer("gpu", 0, 64) or 0,
            is_spot=section.flag("spot"),
            most=most,
            image=self._image(section, "image") if "image" in section else "",
            node_selector=labels,
        )

    def _caps(self, sections: Mapping[str, Section]) -> dict[str, int]:
        budget = self._positive(self._root, "budget_per_hour")
        claims = {name: self._claim(each) for name, each in sections.items()}
        for name, claim in claims.items():
            has_budget = claim.budget is not None or budget is not None
            if has_budget and claim.price is None:
                said = "is missing: a budget divides by it"
                sections[name].problem("price_per_hour", said, "as in price_per_hour: 0.05")
            if not has_budget and claim.max_workers is None:
                said = "is missing, and no budget is given"
                sections[name].problem("max_workers", said, "nothing may grow without a limit: max_workers: 10")
        if self._report.problems:
            return {}
        caps = most_workers(claims, budget)
        for name, cap in caps.items():
            if cap < 1:
                price = claims[name].price
                said = f"is more than the class's part of the budget: not one worker at {price:g} an hour"
                sections[name].problem("price_per_hour", said, "raise budget_per_hour, or the class's share of it")
        return caps

    def _claim(self, section: Section) -> Claim:
        return Claim(
            price=self._positive(section, "price_per_hour"),
            share=self._positive(section, "share", 1.0) or 1.0,
            max_workers=section.integer("max_workers", 1, MAX_WORKERS),
            budget=self._positive(section, "budget_per_hour"),
        )

    def _positive(self, section: Section, key: str, default: float | None = None) -> float | None:
        number = section.number(key)
        if number is not None and number <= 0:
            section.problem(key, f"must be more than 0, got {number}")
            return default
        return default if number is None else float(number)

    # The rest

    def _trigger(self, broker: str, classes: tuple[ResourceClass, ...]) -> str:
        section = self._section("scaling", ("trigger",))
        trigger = section.choice("trigger", TRIGGERS, TRIGGERS[0])
        if trigger == "redis" and (broker != "in-cluster" or len(classes) > 1):
            said = "fits one class on the cluster's own Valkey: messages in hand of all classes lie in one hash"
            section.problem("trigger", said, "write trigger: backlog")
        sqs = self._root.entries.get("sqs")
        has_account = sqs is not None and isinstance(sqs.value, dict) and "account" in sqs.value
        if trigger == "sqs" and not (broker == "sqs" and has_account):
            section.problem("trigger", "needs broker: sqs and sqs.account", "write trigger: backlog")
        return trigger

    def _timing(self, spot: bool) -> Timing:
        section = self._section("times", ("beat", "lease", "visibility", "grace"))
        default = Timing()
        timing = Timing(
            self._seconds(section, "beat", default.beat_s),
            self._seconds(section, "lease", default.lease_s),
            self._seconds(section, "visibility", default.visibility_s),
            self._seconds(section, "grace", default.grace_s),
        )
        for key, said in timing.problems(spot=spot):
            section.problem(key, said)
        return timing

    def _seconds(self, section: Section, key: str, default: float) -> float:
        node = section.get(key)
        if node is None:
            return default
        try:
            seconds = duration_s(node.value)
        except ValueError as error:
            section.problem(key, f"{error}, got {node}", "as in 90s or 2m; a number is seconds")
            return default
        if seconds > 3600:
            section.problem(key, f"must be at most an hour, got {node}")
        return seconds

    def _ingress(self) -> Ingress | None:
        if "ingress" not in self._root:
            return None
        section = self._section("ingress", ("host", "class", "tls_secret"))
        host = section.text("host")
        if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", host):
            said = f"must be a host name, got {shortened(host)!r}" if host else "is missing"
            section.problem("host", said, f"{nearest(host, [host.lower()])} as in optml.example.org".strip())
        return Ingress(host, section.text("class", "nginx"), self._named(section, "tls_secret", "optml-tls"))
