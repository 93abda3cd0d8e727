"""The join secret from its publisher to who joins, through the AWS CLI and a server that stands in for AWS."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from tests.deploy.node import SETTINGS, Ended, Node, unpack
from tests.deploy.terraform import TOOLS
from tests.moto_server import aws_settings, moto_server

pytestmark = pytest.mark.deploy

TOKEN = "abcdef.0123456789abcdef"
CERTIFICATE_KEY = "ab" * 32
KUBECONFIG = "apiVersion: v1\nkind: Config\nusers: [{name: operator, user: {client-key-data: a-private-key}}]\n"
SECRETS = (TOKEN, CERTIFICATE_KEY, "a-private-key")


class Cloud:
    """AWS as the scripts see it, and a look at what they left there."""

    def __init__(self, endpoint: str) -> None:
        self.environment = aws_settings(endpoint)
        account = {
            "endpoint_url": endpoint,
            "region_name": "us-east-1",
            "aws_access_key_id": "testing",
            "aws_secret_access_key": "testing-secret",
        }
        self.ssm, self.kms, self.s3 = (boto3.client(name, **account) for name in ("ssm", "kms", "s3"))
        self.dynamodb = boto3.client("dynamodb", **account)

    def make(self) -> None:
        """What Terraform would have made."""
        key = self.kms.create_key()["KeyMetadata"]["KeyId"]
        self.kms.create_alias(AliasName=SETTINGS["OPTML_JOIN_KEY"], TargetKeyId=key)
        self.s3.create_bucket(Bucket=SETTINGS["OPTML_ISSUER_BUCKET"])
        self.dynamodb.create_table(
            TableName=SETTINGS["OPTML_ELECTION_TABLE"],
            KeySchema=[{"AttributeName": "office", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "office", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )

    def forget(self) -> None:
        """Take back what a test left: parameters, and who was elected."""
        names = [parameter["Name"] for parameter in self.ssm.describe_parameters()["Parameters"]]
        if names:
            self.ssm.delete_parameters(Names=names)
        for office in ("publisher", "initialiser"):
            self.dynamodb.delete_item(TableName=SETTINGS["OPTML_ELECTION_TABLE"], Key={"office": {"S": office}})

    def published(self) -> None:
        """What a publisher leaves, without one."""
        join = (
            "apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\ndiscovery:\n  bootstrapToken:\n"
            f'    apiServerEndpoint: "api.test:6443"\n    caCertHashes: ["sha256:{"0" * 64}"]\n    token: {TOKEN}\n'
        )
        for name, value in (("join", join), ("certificate-key", CERTIFICATE_KEY)):
            self.ssm.put_parameter(Name=f"/optml/{name}", Type="SecureString", Value=value)

    def parameter(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ssm.get_parameter(Name=f"/optml/{name}", WithDecryption=True)["Parameter"]
        return found


@pytest.fixture(scope="module")
def server() -> Iterator[Cloud]:
    with moto_server() as endpoint:
        cloud = Cloud(endpoint)
        cloud.make()
        yield cloud


@pytest.fixture
def cloud(server: Cloud) -> Iterator[Cloud]:
    yield server
    server.forget()


def with_real_aws(node: Node) -> Node:
    node.stub("aws", f'exec "{TOOLS}/aws" "$@"')
    return node


@pytest.fixture
def publisher(user_data: dict[str, str], tmp_path: Path) -> Node:
    node = with_real_aws(unpack(user_data["control-plane"], tmp_path / "publisher"))
    pki = node.path("etc/kubernetes/pki")
    pki.mkdir(parents=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=kubernetes", "-days", "1",
         "-keyout", pki / "ca.key", "-out", pki / "ca.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    node.stub(
        "kubeadm",
        f'case "$*" in "token create"*) echo {TOKEN} ;; "certs certificate-key") echo {CERTIFICATE_KEY} ;;\n'
        f'*upload-certs*) echo "[upload-certs] Using certificate key: {CERTIFICATE_KEY}" ;;\n'
        f"\"kubeconfig user\"*) cat <<'E'\n{KUBECONFIG}E\n;; esac",
    )
    node.stub("kubectl", 'case "$*" in *jsonpath*) printf "kind: ClusterConfiguration\\n" ;; *) echo "{}" ;; esac')
    return node


@pytest.fixture
def worker(user_data: dict[str, str], tmp_path: Path) -> Node:
    return joining(unpack(user_data["worker"], tmp_path / "worker"))


def joining(node: Node) -> Node:
    """A node whose kubeadm keeps a copy of what it was given, where only the test looks."""
    node.stub(
        "kubeadm",
        '[ "$1" = join ] || exit 0\n'
        'while [ $# -gt 1 ]; do [ "$1" != --config ] || cp "$2" "$OPTML_ROOT/stubs/seen.yaml"; shift; done\n'
        'mkdir -p "$OPTML_ROOT/etc/kubernetes"; touch "$OPTML_ROOT/etc/kubernetes/kubelet.conf"',
    )
    return with_real_aws(node)


def run(node: Node, script: str, cloud: Cloud) -> Ended:
    return node.run(script, environment=cloud.environment)


def assert_nothing_told(node: Node, ended: Ended) -> None:
    """No secret in what was written, in any program's arguments, or in a file that stayed."""
    for secret in SECRETS:
        assert secret not in ended.output
        assert not [call for call in node.calls() if secret in call]
        assert node.has_kept(secret) == []


def test_what_is_published_lets_a_worker_in(publisher: Node, worker: Node, cloud: Cloud) -> None:
    published = run(publisher, "optml-publish", cloud)
    assert published.code == 0, published.output
    assert_nothing_told(publisher, published)
    assert {cloud.parameter(name)["Type"] for name in ("join", "certificate-key", "kubeconfig")} == {"SecureString"}
    assert cloud.parameter("certificate-key")["Value"].strip() == CERTIFICATE_KEY
    sealed = cloud.ssm.describe_parameters()["Parameters"]
    assert {parameter["KeyId"] for parameter in sealed} == {SETTINGS["OPTML_JOIN_KEY"]}
    assert "--ttl 2h" in publisher.calls("kubeadm token create")[0]

    joined = run(worker, "optml-join", cloud)
    assert joined.code == 0, joined.output
    assert_nothing_told(worker, joined)
    seen = yaml.safe_load((worker.root / "stubs/seen.yaml").read_text())
    assert seen["kind"] == "JoinConfiguration"
    bootstrap = seen["discovery"]["bootstrapToken"]
    assert bootstrap == {
        "apiServerEndpoint": "api.test:6443",
        "caCertHashes": [f"sha256:{fingerprint(publisher)}"],
        "token": TOKEN,
    }
    # One secret, its own.
    assert len(worker.calls("aws ssm get-parameter")) == 1
    assert "--name /optml/join " in worker.calls("aws ssm get-parameter")[0]

    before = len(worker.calls("aws"))
    assert run(worker, "optml-join", cloud).code == 0
    assert len(worker.calls("aws")) == before


def fingerprint(node: Node) -> str:
    """As kubeadm's documentation says: SHA-256 of the authority's public key in DER."""
    command: list[str | Path] = ["openssl", "x509", "-pubkey", "-noout", "-in", node.path("etc/kubernetes/pki/ca.crt")]
    public = subprocess.run(command, check=True, capture_output=True).stdout
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "der"], input=public, check=True, capture_output=True
    )
    return hashlib.sha256(der.stdout).hexdigest()


def test_a_control_plane_node_joins_with_the_certificates_key(
    user_data: dict[str, str], cloud: Cloud, tmp_path: Path
) -> None:
    cloud.published()
    node = joining(unpack(user_data["control-plane"], tmp_path / "second"))
    ended = run(node, "optml-join", cloud)
    assert ended.code == 0, ended.output
    assert_nothing_told(node, ended)
    assert yaml.safe_load((node.root / "stubs/seen.yaml").read_text())["controlPlane"] == {
        "certificateKey": CERTIFICATE_KEY
    }


def test_two_nodes_never_publish_at_once(publisher: Node, cloud: Cloud) -> None:
    cloud.dynamodb.put_item(
        TableName=SETTINGS["OPTML_ELECTION_TABLE"],
        Item={"office": {"S": "publisher"}, "holder": {"S": "control-1"}, "held_until": {"N": "9999999999"}},
    )
    ended = run(publisher, "optml-publish", cloud)
    assert ended.code == 0
    assert "another node publishes" in ended.output
    assert not publisher.calls("kubeadm")


def test_an_election_has_one_winner_until_its_time_is_over(publisher: Node, cloud: Cloud) -> None:
    def claim(node: str, seconds: str) -> int:
        settings = publisher.path("etc/optml/node.env")
        settings.write_text(settings.read_text().replace("control-0", node))
        code = publisher.run("optml-claim", "initialiser", seconds, environment=cloud.environment).code
        settings.write_text(settings.read_text().replace(node, "control-0"))
        return code

    assert claim("control-1", "0") == 0
    assert claim("control-2", "0") == 3
    # Who holds it and is interrupted goes on.
    assert claim("control-1", "0") == 0
    cloud.forget()
    assert claim("control-1", "-1") == 0
    assert claim("control-2", "60") == 0


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "could not join"),
        ("kind: JoinConfiguration\n", "no fingerprint of the authority"),
        (
            f'kind: JoinConfiguration\n    caCertHashes: ["sha256:{"0" * 64}"]\n    unsafeSkipCAVerification: true\n',
            "skips the check of the authority",
        ),
        ("<html>", "is no JoinConfiguration"),
    ],
)
def test_who_cannot_check_the_authority_does_not_join(value: str | None, said: str, worker: Node, cloud: Cloud) -> None:
    if value is not None:
        cloud.ssm.put_parameter(Name="/optml/join", Type="SecureString", Value=value)
    ended = run(worker, "optml-join", cloud)
    assert ended.code == 1
    assert said in ended.output
    assert not worker.calls("kubeadm join")
    # It was patient first.
    assert len(worker.calls("sleep")) == 2


def test_a_join_that_fails_is_tried_again_with_the_secret_of_then(worker: Node, cloud: Cloud) -> None:
    cloud.published()
    worker.stub(
        "kubeadm",
        '[ "$1" = join ] || exit 0\n[ ! -e "$OPTML_ROOT/stubs/once" ] || exit 0\n'
        f'touch "$OPTML_ROOT/stubs/once"; echo "token {TOKEN} expired" >&2; exit 1',
    )
    ended = run(worker, "optml-join", cloud)
    assert ended.code == 0, ended.output
    assert TOKEN not in ended.output
    assert len(worker.calls("kubeadm join")) == 2
    assert worker.calls("kubeadm reset") == ["kubeadm reset --force"]
    assert len(worker.calls("aws ssm get-parameter")) == 2


def test_a_token_that_is_none_is_not_published(publisher: Node, cloud: Cloud) -> None:
    publisher.stub(
        "kubeadm",
        f'case "$*" in "certs certificate-key") echo {CERTIFICATE_KEY} ;; "token create"*) echo "a warning" ;; esac',
    )
    ended = run(publisher, "optml-publish", cloud)
    assert ended.code == 1
    assert "nothing was published" in ended.output
    assert [parameter["Name"] for parameter in cloud.ssm.describe_parameters()["Parameters"]] == [
        "/optml/certificate-key"
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('--value "file://$2"', '--value "$(cat "$2")"'),
        ('log "published"', 'log "published $(cat "$SECRETS/token")"'),
        ("trap 'rm -rf \"$SECRETS\"' EXIT", "true"),
        ('>"$SECRETS/kubeconfig" 2>/dev/null', '| tee "$SECRETS/kubeconfig"'),
    ],
)
def test_a_planted_leak_is_found(old: str, new: str, publisher: Node) -> None:
    publisher.stub("aws")
    script = publisher.path("usr/local/sbin/optml-publish")
    assert old in script.read_text()
    script.write_text(script.read_text().replace(old, new))
    ended = publisher.run("optml-publish")
    assert ended.code == 0, ended.output
    with pytest.raises(AssertionError):
        assert_nothing_told(publisher, ended)
