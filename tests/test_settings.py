"""Settings: what the environment may hold, and what is said when it may not."""

from pathlib import Path

import pytest

from optml_queue.errors import SettingsError
from optml_queue.settings import Settings, environment_of, read_settings

REDIS = "redis://:secret@host:6379/0"


def refused(**variables: str) -> str:
    """What is said of an environment that cannot be used."""
    with pytest.raises(SettingsError) as caught:
        read_settings({f"OPTML_{name.upper()}": value for name, value in variables.items()})
    assert "secret" not in str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_nothing_set_is_the_embedded_mode() -> None:
    settings = read_settings({"PATH": "/bin", "OPTML_PARAM_LEARNING_RATE": "0.1"})
    assert settings.is_embedded
    assert (settings.broker_url, settings.store_url, settings.archive_url) == (None, None, None)
    assert settings.archive == "optml-results"
    assert settings.lease_s >= 3 * settings.beat_s
    assert settings.visibility_s >= settings.lease_s


def test_a_redis_broker_is_the_store_too() -> None:
    assert read_settings({"OPTML_BROKER_URL": REDIS}).store == REDIS


def test_a_store_of_its_own_stays_apart() -> None:
    settings = read_settings({"OPTML_BROKER_URL": REDIS, "OPTML_STORE_URL": "rediss://other:6380/1"})
    assert settings.store == "rediss://other:6380/1?ssl_cert_reqs=required"
    assert settings.broker.url == REDIS


def test_sqs_without_a_store_is_an_input_error() -> None:
    said = refused(broker_url="sqs://key:secret@localhost:9324//")
    assert "OPTML_STORE_URL must be set" in said
    assert "redis://HOST:6379/0" in said


def test_a_store_without_a_broker_is_an_input_error() -> None:
    assert "OPTML_BROKER_URL must be set" in refused(store_url=REDIS)


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("broker_url", "amqp://user:secret@host//", "must begin with one of: redis://, rediss://, sqs://"),
        ("broker_url", "host:6379", "must begin with one of"),
        ("broker_url", "redis://:secret@/0", "names no host"),
        ("broker_url", "redis://:secret@host:6379/zero", "must end with the number of a database"),
        ("broker_url", "redis://:secret@host:99999/0", "is not a URL"),
        ("broker_url", "redis://:secret@host:0/0", "has port 0"),
        ("broker_url", "redis://:secret@[::1/0", "is not a URL"),
        ("store_url", "sqs://", "must begin with one of: redis://, rediss://"),
        ("archive_url", "gs://bucket/prefix", "must begin with one of: a folder, file://, s3://"),
        ("archive_url", "s3:///prefix", "names no bucket"),
        ("lease_s", "soon", "should be a valid number"),
        ("beat_s", "0", "greater than or equal to 0.1"),
        ("beat_s", "nan", "should be a finite number"),
        ("visibility_s", "43201", "less than or equal to 43200"),
        ("resource_class", "GPU large", "1 to 40 of a-z"),
        ("sqs_queue_prefix", "a b", "match pattern"),
        ("sqs_tls", "perhaps", "should be a valid boolean"),
    ],
)
def test_a_bad_value_is_named_with_its_variable_and_rule(variable: str, value: str, rule: str) -> None:
    said = refused(**{variable: value})
    assert f"OPTML_{variable.upper()}: " in said
    assert rule in said


def test_durations_must_fit_each_other() -> None:
    assert "at least three times OPTML_BEAT_S" in refused(beat_s="4", lease_s="10")
    assert "at least OPTML_LEASE_S" in refused(lease_s="20", visibility_s="15")


def test_all_bad_values_are_told_at_once() -> None:
    said = refused(beat_s="x", broker_url="http://host")
    assert "OPTML_BEAT_S" in said
    assert "OPTML_BROKER_URL" in said


@pytest.mark.parametrize(
    ("name", "advice"),
    [("OPTML_BROKER", "did you mean OPTML_BROKER_URL?"), ("OPTML_QWERTZ", "known are OPTML_BROKER_URL")],
)
def test_an_unknown_variable_is_an_error(name: str, advice: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}: no such setting") as caught:
        read_settings({name: "1"})
    assert advice in str(caught.value)


def test_an_empty_variable_counts_as_unset() -> None:
    assert read_settings({"OPTML_BROKER_URL": "", "OPTML_LEASE_S": " "}) == Settings()


def test_a_child_process_gets_the_same_settings() -> None:
    settings = read_settings({"OPTML_BROKER_URL": REDIS, "OPTML_GRACE_S": "0.25"}, results_dir=Path("elsewhere"))
    assert read_settings(environment_of(settings)) == settings


def test_workers_without_a_broker_are_told_what_to_set() -> None:
    with pytest.raises(SettingsError, match="OPTML_BROKER_URL is not set"):
        _ = Settings().broker
