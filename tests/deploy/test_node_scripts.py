"""The scripts of user-data, run for real with stubs in the system's place: arguments, patience, a second run, doubt."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.node import Node, unpack
from tests.deploy.terraform import TOOLS

pytestmark = pytest.mark.deploy


@pytest.fixture
def control(user_data: dict[str, str], tmp_path: Path) -> Node:
    return unpack(user_data["control-plane"], tmp_path / "root")


@pytest.fixture
def worker(user_data: dict[str, str], tmp_path: Path) -> Node:
    return unpack(user_data["worker"], tmp_path / "root")


def scripts(node: Node) -> list[Path]:
    return sorted([*node.path("usr/local/sbin").iterdir(), *node.path("usr/local/lib/optml").iterdir()])


def shellcheck(files: list[Path]) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [TOOLS / "shellcheck", "--shell=bash", "--exclude=SC1091", *files]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_scripts_are_sound(control: Node) -> None:
    for script in scripts(control):
        assert subprocess.run(["bash", "-n", script], capture_output=True, text=True).stderr == ""
    ended = shellcheck(scripts(control))
    assert ended.returncode == 0, ended.stdout


def test_shellcheck_finds_a_planted_fault(control: Node) -> None:
    script = control.path("usr/local/sbin/optml-snapshot")
    script.write_text(script.read_text() + '\nrm -rf $TYPO/"$FILE"\n')
    assert shellcheck([script]).returncode == 1


def test_user_data_has_no_address_over_plain_http(user_data: dict[str, str], control: Node) -> None:
    for script in scripts(control):
        for line in script.read_text().splitlines():
            assert "http://" not in line or "http://169.254.169.254/" in line, f"{script.name}: {line}"


# Downloads


def fetch(node: Node, name: str, content: bytes, pinned: bytes) -> tuple[int, str, Path]:
    node.stub(
        "curl", 'while [ $# -gt 1 ]; do [ "$1" != --output ] || out=$2; shift; done; cat "$OPTML_ROOT/web" >"$out"'
    )
    node.path("web").write_bytes(content)
    node.path("etc/optml/addons.lock").write_text(
        f"{name} 1 https://example.test/{name} {hashlib.sha256(pinned).hexdigest()}\n"
    )
    script = node.path("usr/local/sbin/try")
    script.write_text('. "$OPTML_ROOT/usr/local/lib/optml/node.sh"\nset -euo pipefail\nfetch "$1" "$OPTML_ROOT/got"\n')
    ended = node.run("try", name)
    return ended.code, ended.output, node.path("got")


def test_a_download_is_what_was_pinned(worker: Node) -> None:
    code, _, got = fetch(worker, "keda", b"keda", pinned=b"keda")
    assert code == 0
    assert got.read_bytes() == b"keda"
    (call,) = worker.calls("curl")
    assert "--proto =https" in call


def test_a_download_that_is_not_what_was_pinned_is_not_kept(worker: Node) -> None:
    code, output, got = fetch(worker, "keda", b"other", pinned=b"keda")
    assert code == 1
    assert "checksum is not the pinned one" in output
    assert not got.exists()
    assert not list(worker.root.glob("got*"))


def test_what_is_not_pinned_is_not_downloaded(worker: Node) -> None:
    worker.path("etc/optml/addons.lock").write_text("keda 1 https://example.test/keda -\n")
    script = worker.path("usr/local/sbin/try")
    script.write_text('. "$OPTML_ROOT/usr/local/lib/optml/node.sh"\nfetch keda "$OPTML_ROOT/got"\n')
    ended = worker.run("try")
    assert ended.code == 1
    assert "run deploy/terraform/addons/pin" in ended.output
    assert not worker.calls("curl")


# Preparing


def test_packages_are_pinned_held_and_installed_once(worker: Node) -> None:
    content = b"anything"
    names = ("kubernetes-apt-key", "containerd", "ecr-credential-provider", "amazon-ssm-agent")
    digest = hashlib.sha256(content).hexdigest()
    worker.path("etc/optml/addons.lock").write_text(
        "".join(f"{n} 1 https://example.test/{n} {digest}\n" for n in names)
    )
    worker.path("web").write_bytes(content)
    worker.stub(
        "curl", 'while [ $# -gt 1 ]; do [ "$1" != --output ] || out=$2; shift; done; cat "$OPTML_ROOT/web" >"$out"'
    )
    worker.stub("tar")
    ended = worker.run("optml-prepare", environment={"OPTML_NODE_LABELS": "ignored"})
    assert ended.code == 0, ended.output
    (install,) = worker.calls("apt-get install")
    assert "kubelet=1.37.1-* kubeadm=1.37.1-* kubectl=1.37.1-*" in install
    assert worker.calls("apt-mark") == ["apt-mark hold kubelet kubeadm kubectl"]
    source = worker.path("etc/apt/sources.list.d/kubernetes.list").read_text()
    assert "signed-by=" in source
    assert "https://pkgs.k8s.io/core:/stable:/v1.37/deb/" in source
    assert "SystemdCgroup = true" in worker.path("etc/containerd/config.toml").read_text()
    assert "--cloud-provider=external" in worker.path("etc/default/kubelet").read_text()
    before = len(worker.calls())
    assert worker.run("optml-prepare").code == 0
    assert len(worker.calls()) == before


def test_a_repository_that_fails_stops_all_that_follows(worker: Node) -> None:
    worker.stub("curl", "exit 22")
    assert worker.run("optml-prepare").code != 0
    assert not worker.calls("apt-get install")
    assert len(worker.calls("curl")) == 5


# The volume of state


def volume(node: Node, blkid: int) -> None:
    device = node.path("dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol1")
    device.parent.mkdir(parents=True)
    device.touch()
    node.stub("mountpoint", 'grep -qxF -- "$2" "$OPTML_ROOT/mounted" 2>/dev/null')
    node.stub("mount", 'echo "${@: -1}" >>"$OPTML_ROOT/mounted"')
    node.stub("blkid", f"exit {blkid}")


def test_a_new_volume_is_formatted_and_mounted_once(control: Node) -> None:
    volume(control, blkid=2)
    assert control.run("optml-volume").code == 0
    assert len(control.calls("mkfs")) == 1
    assert len(control.calls("mount ")) == 4
    assert control.run("optml-volume").code == 0
    assert len(control.calls("mount ")) == 4


@pytest.mark.parametrize("blkid", [0, 4, 8])
def test_a_volume_that_holds_anything_is_never_formatted(blkid: int, control: Node) -> None:
    volume(control, blkid)
    ended = control.run("optml-volume")
    assert (ended.code == 0) == (blkid == 0)
    assert not control.calls("mkfs")
    assert bool(control.calls("mount ")) == (blkid == 0)


def test_a_volume_that_does_not_come_is_waited_for_then_refused(control: Node) -> None:
    control.stub("mountpoint", "exit 1")
    ended = control.run("optml-volume")
    assert ended.code == 1
    assert "is not attached" in ended.output
    assert control.calls("sleep") == ["sleep 1", "sleep 2"]


# Initialising


def member(node: Node) -> None:
    for name in ("admin.conf", "kubelet.conf"):
        node.path("etc/kubernetes").mkdir(parents=True, exist_ok=True)
        node.path(f"etc/kubernetes/{name}").touch()


def test_who_is_elected_makes_the_cluster(control: Node) -> None:
    for name in ("optml-publish", "optml-addons", "optml-join"):
        control.stub(name)
    control.path("etc/kubernetes").mkdir()
    control.stub(
        "kubeadm", 'while [ $# -gt 1 ]; do [ "$1" != --config ] || cp "$2" "$OPTML_ROOT/seen.yaml"; shift; done'
    )
    ended = control.run("optml-init")
    assert ended.code == 0, ended.output
    (call,) = control.calls("kubeadm")
    assert call.startswith("kubeadm init --config ")
    assert "--skip-token-print" in call
    documents = {document["kind"]: document for document in yaml.safe_load_all(control.path("seen.yaml").read_text())}
    cluster = documents["ClusterConfiguration"]
    assert cluster["controlPlaneEndpoint"] == "api.test:6443"
    assert cluster["kubernetesVersion"] == "v1.37.1"
    assert {"name": "service-account-issuer", "value": "https://issuer.test"} in cluster["apiServer"]["extraArgs"]
    assert "bootstrapTokens" not in documents["InitConfiguration"]
    assert control.calls("optml-") == ["optml-publish ", "optml-addons "]
    (election,) = control.calls("aws")
    assert "--condition-expression attribute_not_exists(office)" in election


def test_who_is_not_elected_joins(control: Node) -> None:
    control.stub("aws", 'echo "An error occurred (ConditionalCheckFailedException)" >&2; exit 254')
    for name in ("optml-publish", "optml-addons", "optml-join"):
        control.stub(name)
    assert control.run("optml-init").code == 0
    assert control.calls("optml-") == ["optml-join "]
    assert not control.calls("kubeadm")


def test_an_election_that_cannot_be_held_makes_no_second_cluster(control: Node) -> None:
    control.stub("aws", 'echo "Could not connect" >&2; exit 255')
    control.stub("optml-join")
    ended = control.run("optml-init")
    assert ended.code == 1
    assert "could not be held" in ended.output
    assert not control.calls("kubeadm")
    assert not control.calls("optml-join")


def test_a_member_neither_initialises_nor_joins_again(control: Node) -> None:
    member(control)
    for name in ("optml-publish", "optml-addons", "optml-join"):
        control.stub(name)
    assert control.run("optml-init").code == 0
    assert not control.calls("kubeadm")
    assert not control.calls("optml-")
    assert control.calls("systemctl") == ["systemctl start kubelet.service"]


def test_who_was_interrupted_while_it_made_the_cluster_begins_anew(control: Node) -> None:
    control.stub("optml-publish")
    control.stub("optml-addons")
    # As if its power had gone: half of the files are there.
    control.stub(
        "kubeadm",
        'case $1 in init) mkdir -p "$OPTML_ROOT/etc/kubernetes"\n'
        'touch "$OPTML_ROOT"/etc/kubernetes/{admin,kubelet}.conf\n'
        '[ ! -e "$OPTML_ROOT/stubs/once" ] || exit 0; touch "$OPTML_ROOT/stubs/once"; exit 1 ;;\n'
        'reset) rm "$OPTML_ROOT"/etc/kubernetes/* ;; esac',
    )
    assert control.run("optml-init").code != 0
    assert not control.calls("optml-")
    assert control.run("optml-init").code == 0
    assert [call.split()[1] for call in control.calls("kubeadm")] == ["init", "reset", "init"]
    assert control.calls("optml-") == ["optml-publish ", "optml-addons "]


def test_addons_that_were_interrupted_are_installed_at_the_next_boot(control: Node) -> None:
    member(control)
    control.path("var/lib/optml-state").mkdir(parents=True)
    control.path("var/lib/optml-state/initialised").touch()
    for name in ("optml-publish", "optml-addons"):
        control.stub(name)
    assert control.run("optml-init").code == 0
    assert control.calls("optml-") == ["optml-publish ", "optml-addons "]


def test_addons_are_checked_before_any_is_applied(control: Node) -> None:
    names = ("calico", "keda", "node-termination-handler", "helm", "cloud-controller-manager", "cluster-autoscaler")
    lock = "".join(f"{n} 1 https://example.test/{n} {hashlib.sha256(b'x').hexdigest()}\n" for n in names)
    # The last that is looked for is not what was pinned.
    wrong = "".join(
        f"{n} 1 https://example.test/{n} {'0' * 64}\n" for n in ("metrics-server", "ebs-csi-driver", "dashboard")
    )
    control.path("etc/optml/addons.lock").write_text(lock + wrong)
    control.stub("curl", 'while [ $# -gt 1 ]; do [ "$1" != --output ] || out=$2; shift; done; printf x >"$out"')
    ended = control.run("optml-addons")
    assert ended.code == 1
    assert "metrics-server: the download's checksum" in ended.output
    assert not control.calls("kubectl")
    assert not control.calls("helm")


# Snapshots


def test_a_snapshot_is_checked_sent_and_removed(control: Node) -> None:
    control.path("var/lib/etcd").mkdir(parents=True)
    control.stub("crictl", '[ "$1" != ps ] || echo id; [[ "$*" != *" save "* ]] || echo data >"$OPTML_ROOT${@: -1}"')
    ended = control.run("optml-snapshot")
    assert ended.code == 0, ended.output
    (sent,) = control.calls("aws s3 cp")
    assert "s3://snapshots/etcd/control-0/snapshot-" in sent
    assert list(control.path("var/lib/etcd").iterdir()) == []


@pytest.mark.parametrize(
    "crictl",
    [
        "exit 0",  # etcd does not run
        '[ "$1" != ps ] || echo id',  # nothing is written
        # what is written is damaged
        '[ "$1" != ps ] || echo id; [[ $* != *" save "* ]] || echo x >"$OPTML_ROOT${@: -1}"; [[ $* != *" status "* ]]',
    ],
)
def test_a_snapshot_that_is_none_is_not_sent(crictl: str, control: Node) -> None:
    control.path("var/lib/etcd").mkdir(parents=True)
    control.stub("crictl", crictl)
    ended = control.run("optml-snapshot")
    assert ended.code == 1
    assert "nothing was kept" in ended.output
    assert not control.calls("aws")
    assert list(control.path("var/lib/etcd").iterdir()) == []
