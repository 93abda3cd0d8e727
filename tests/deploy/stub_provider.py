"""A Terraform provider that knows the AWS provider's schema and does nothing.

Terraform starts it and talks to it over the plugin protocol, version 6. `init` and `validate` need no more of a
provider than its schema, and `terraform test` puts mocks of its own in place of every call. The schema is the JSON
file that AWS_SCHEMA_JSON names (see aws_schema.py). Run by the interpreter of `.venv-deploy`.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
import threading
from concurrent import futures
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tf.gen import grpc_controller_pb2 as controller_messages
from tf.gen import grpc_controller_pb2_grpc as controller
from tf.gen import grpc_stdio_pb2_grpc as stdio
from tf.gen import tfplugin_pb2 as messages
from tf.gen import tfplugin_pb2_grpc as plugin

NESTING = {"list": 2, "set": 3, "single": 1}


def block_message(block: dict[str, Any]) -> Any:
    """A block of the schema as the protocol's message."""
    attributes = [
        messages.Schema.Attribute(
            name=name,
            type=json.dumps(attribute["type"]).encode(),
            required=attribute["required"],
            optional=attribute["optional"],
            computed=attribute["computed"],
        )
        for name, attribute in block["attributes"].items()
    ]
    nested = [nested_message(name, entry) for name, entry in block["blocks"].items() if entry["mode"] in NESTING]
    # A map of objects is an attribute to Terraform, whatever the bindings call it.
    maps = [
        messages.Schema.Attribute(
            name=name, type=b'"dynamic"', required=entry["required"], optional=not entry["required"]
        )
        for name, entry in block["blocks"].items()
        if entry["mode"] not in NESTING
    ]
    return messages.Schema.Block(attributes=attributes + maps, block_types=nested)


def nested_message(name: str, entry: dict[str, Any]) -> Any:
    """One nested block; how often it may occur is told apart only between once and often."""
    single = entry["mode"] == "single"
    return messages.Schema.NestedBlock(
        type_name=name,
        block=block_message(entry["block"]),
        nesting=NESTING[entry["mode"]],
        min_items=int(entry["required"] and not single),
        max_items=int(not entry["many"] and not single),
    )


class Provider(plugin.ProviderServicer):
    """Answers what the schema is; finds every configuration valid."""

    def __init__(self, schema: dict[str, dict[str, Any]]) -> None:
        self._schema = schema

    def GetMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 — the protocol's name
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "")

    def GetProviderSchema(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def described(kind: str) -> dict[str, Any]:
            return {name: messages.Schema(block=block_message(block)) for name, block in self._schema[kind].items()}

        return messages.GetProviderSchema.Response(
            provider=described("provider")["aws"],
            resource_schemas=described("resource"),
            data_source_schemas=described("data"),
        )

    def ValidateProviderConfig(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return messages.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return messages.ValidateResourceConfig.Response()

    def ValidateDataResourceConfig(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return messages.ValidateDataResourceConfig.Response()

    def ConfigureProvider(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return messages.ConfigureProvider.Response()

    def StopProvider(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return messages.StopProvider.Response()


class Controller(controller.GRPCControllerServicer):
    """Lets Terraform end this process."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def Shutdown(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self.ended.set()
        return controller_messages.Empty()


class Stdio(stdio.GRPCStdioServicer):
    """Has nothing to print."""

    def StreamStdio(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return iter(())


def certificate() -> tuple[bytes, grpc.ServerCredentials]:
    """A certificate for this process (DER, as the handshake wants it) and the server's credentials."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    credentials = grpc.ssl_server_credentials([(private, signed.public_bytes(serialization.Encoding.PEM))])
    return signed.public_bytes(serialization.Encoding.DER), credentials


def main() -> None:
    """Serve until Terraform says that it is enough."""
    if "TF_PLUGIN_MAGIC_COOKIE" not in os.environ:
        sys.exit("this is a Terraform provider: it is started by Terraform")
    schema = json.loads(Path(os.environ["AWS_SCHEMA_JSON"]).read_text())
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.max_send_message_length", -1)])
    plugin.add_ProviderServicer_to_server(Provider(schema), server)
    control = Controller()
    controller.add_GRPCControllerServicer_to_server(control, server)
    stdio.add_GRPCStdioServicer_to_server(Stdio(), server)
    with tempfile.TemporaryDirectory() as folder:
        der, credentials = certificate()
        socket = f"unix:{folder}/provider.sock"
        server.add_secure_port(socket, credentials)
        server.start()
        known = base64.b64encode(der).decode().rstrip("=")
        sys.stdout.write(f"1|6|unix|{folder}/provider.sock|grpc|{known}\n")
        sys.stdout.flush()
        control.ended.wait()
        server.stop(0)


if __name__ == "__main__":
    main()
