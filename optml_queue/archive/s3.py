"""An archive in S3, or in any service that speaks its protocol."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import ConnectionError as NoConnectionError

from optml_queue.archive import checked_folder, checked_key
from optml_queue.errors import ArchiveError, UnreachableError, without_password

_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
_REASONS = {
    "NoSuchBucket": "there is no such bucket",
    "AccessDenied": "access denied (403): the credentials do not allow it",
    "403": "access denied (403): the credentials do not allow it, or the clock is wrong",
    "InvalidAccessKeyId": "the access key is not known there",
    "SignatureDoesNotMatch": "the secret key does not match the access key",
    "ExpiredToken": "the session token has expired",
    "PermanentRedirect": "the bucket is in another region: set AWS_REGION",
    "301": "the bucket is in another region: set AWS_REGION",
}
_TRANSFER = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 5})
# Two attempts of this length, and the pause between them, end well within ten seconds.
PROBE_ATTEMPTS, PROBE_LIMIT_S = 2, 3.0
PAGE_LENGTH = 1_000  # keys in one listing and in one deletion: the most that S3 allows
_SPOOL_BYTES = 1 << 20


class S3Archive:
    """Documents as objects below `prefix` of `bucket`.

    S3 shows an object only when its upload is complete, so every write is atomic as it is. Credentials,
    region, profile and endpoint come from the usual AWS settings. May be used by many threads. `what` is
    what messages call it.
    """

    def __init__(self, bucket: str, prefix: str = "", *, what: str = "the archive") -> None:
        self.what = what
        self.bucket = bucket
        self.prefix = f"{checked_key(prefix)}/" if prefix else ""

    @property
    def url(self) -> str:
        """`s3://bucket/prefix`."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def put(self, key: str, body: bytes) -> None:
        """Write a document, replacing the one that has this key."""
        with self._asking("write", key):
            self._client.put_object(Bucket=self.bucket, Key=self._key(key), Body=body)

    def put_file(self, key: str, path: Path) -> None:
        """Write a document out of a local file; a large one goes up in parts."""
        with path.open("rb") as file, self._asking("write", key):
            self._client.upload_fileobj(file, self.bucket, self._key(key))

    def get(self, key: str) -> bytes:
        """The whole document. Raises ArchiveError when there is none."""
        with self._asking("read", key):
            reply = self._client.get_object(Bucket=self.bucket, Key=self._key(key))
            return cast(bytes, reply["Body"].read())

    def open(self, key: str) -> BinaryIO:
        """The document, downloaded into a temporary file that goes when it is closed."""
        file = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115 -- the caller closes it
        try:
            with self._asking("read", key):
                self._client.download_fileobj(self.bucket, self._key(key), file)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return cast(BinaryIO, file)

    def exists(self, key: str) -> bool:
        """Whether a document has this key."""
        with self._asking("read", key):
            try:
                self._client.head_object(Bucket=self.bucket, Key=self._key(key))
            except ClientError as error:
                if _code(error) in _MISSING:
                    return False
                raise
        return True

    def tag(self, key: str) -> str:
        """A text that changes when the document does. Raises ArchiveError when there is none."""
        with self._asking("read", key):
            return str(self._client.head_object(Bucket=self.bucket, Key=self._key(key))["ETag"])

    def keys(self, folder: str = "") -> Iterator[str]:
        """The keys below `folder` in ascending order."""
        for page in self._pages(checked_folder(folder)):
            for item in page.get("Contents", ()):
                yield item["Key"].removeprefix(self.prefix)

    def children(self, folder: str = "") -> Iterator[str]:
        """The names directly below `folder`, documents and folders, in ascending order."""
        start = checked_folder(folder)
        names: set[str] = set()
        for page in self._pages(start, Delimiter="/"):
            found = [item["Key"] for item in page.get("Contents", ())]
            found += [item["Prefix"] for item in page.get("CommonPrefixes", ())]
            names.update(key.removeprefix(self.prefix + start).rstrip("/") for key in found)
        yield from sorted(names)

    def delete(self, folder: str) -> int:
        """Remove the document of this key and all below it; returns how many there were."""
        key = checked_key(folder.removesuffix("/"))
        count = 0
        if self.exists(key):
            self._delete([self._key(key)], key)
            count += 1
        for page in self._pages(checked_folder(folder)):
            below = [item["Key"] for item in page.get("Contents", ())]
            if below:
                self._delete(below, key)
            count += len(below)
        return count

    def check(self) -> None:
        """Raises UnreachableError when the bucket does not answer, does not exist, or may not be listed."""
        try:
            self._connect(_probe()).list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1)
        except (ClientError, BotoCoreError, ValueError) as error:
            raise self._unreachable(error) from error

    @cached_property
    def _client(self) -> Any:
        return self._connect(_TRANSFER)

    def _connect(self, config: Config) -> Any:
        core = botocore.session.get_session()
        region = core.get_config_variable("region") or "us-east-1"
        session = boto3.Session(botocore_session=core, region_name=region)
        client = session.client("s3", config=config)
        style = core.get_scoped_config().get("s3", {}).get("addressing_style")
        if style is None and not _is_amazon(client.meta.endpoint_url):
            # Other services seldom have a DNS name for every bucket.
            client = session.client("s3", config=config.merge(Config(s3={"addressing_style": "path"})))
        self._endpoint = without_password(client.meta.endpoint_url)
        return client

    _endpoint = ""

    def _key(self, key: str) -> str:
        return self.prefix + checked_key(key)

    def _pages(self, folder: str, **options: str) -> Iterator[dict[str, Any]]:
        with self._asking("list", folder):
            paginator = self._client.get_paginator("list_objects_v2")
            page = {"PageSize": PAGE_LENGTH}
            yield from paginator.paginate(
                Bucket=self.bucket, Prefix=self.prefix + folder, PaginationConfig=page, **options
            )

    def _delete(self, full_keys: list[str], key: str) -> None:
        """Remove the objects of one page, which is as many as one call takes."""
        with self._asking("delete", key):
            objects = [{"Key": full_key} for full_key in full_keys]
            reply = self._client.delete_objects(Bucket=self.bucket, Delete={"Objects": objects, "Quiet": True})
        for refused in reply.get("Errors", ()):
            reason = _REASONS.get(refused["Code"], refused["Code"])
            raise ArchiveError(f"{self.what} {self.url}: cannot delete {refused['Key']}: {reason}")

    @contextmanager
    def _asking(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            code = _code(error)
            if code in _MISSING:
                raise ArchiveError(f"{self.what} {self.url} has no {key}") from error
            reason = _REASONS.get(code, f"{code} {error.response['Error'].get('Message', '')}".strip())
            raise ArchiveError(f"{self.what} {self.url}: cannot {verb} {key}: {reason}") from error
        except (BotoCoreError, ValueError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> UnreachableError:
        return UnreachableError(self.what, self.url, f"{_cause(error)}{self._at()}")

    def _at(self) -> str:
        return f" (endpoint {self._endpoint})" if self._endpoint else ""


def _probe() -> Config:
    retries = {"mode": "standard", "total_max_attempts": PROBE_ATTEMPTS}
    return Config(connect_timeout=PROBE_LIMIT_S, read_timeout=PROBE_LIMIT_S, retries=retries)


def _is_amazon(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def _cause(error: Exception) -> str:
    """What went wrong, in plain words; the library's own messages can carry a URL with a key in it."""
    if isinstance(error, ClientError):
        code = _code(error)
        if code in _MISSING:
            code = "NoSuchBucket"
        return _REASONS.get(code, code)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return "no complete AWS credentials were found (environment, profile, or role)"
    if isinstance(error, NoConnectionError | HTTPClientError):
        return f"no answer ({type(error).__name__})"
    return without_password(str(error)) if isinstance(error, ValueError) else type(error).__name__
