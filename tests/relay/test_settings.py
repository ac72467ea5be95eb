from __future__ import annotations

from pathlib import Path

import pytest

from liaison.relay import settings, settings_words
from liaison.relay.errors import SettingsError
from liaison.relay.files import SETTINGS_FILE
from liaison.relay.settings import TLSMode

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operating" / "settings.md"


def write(folder: Path, text: str) -> None:
    (folder / SETTINGS_FILE).write_text(text)


def test_without_a_file_every_setting_has_its_default(tmp_path: Path) -> None:
    found = settings.load(tmp_path)

    assert (found.host, found.port) == ("127.0.0.1", 8443)
    assert found.tls is TLSMode.FILES


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "max_streams = 1\nmax_in_flight = 1\ndelivery_batch = 1\n")
    monkeypatch.setenv("LIAISON_RELAY_MAX_IN_FLIGHT", "2")
    monkeypatch.setenv("LIAISON_RELAY_DELIVERY_BATCH", "2")

    found = settings.load(tmp_path, delivery_batch=3, max_blob=None)

    assert (found.max_streams, found.max_in_flight, found.delivery_batch) == (1, 2, 3)


def test_the_file_that_init_writes_means_the_defaults(tmp_path: Path) -> None:
    write(tmp_path, settings_words.template("127.0.0.1:9000"))

    found = settings.load(tmp_path)

    defaults = settings.load(tmp_path / "none").model_dump()
    assert found.model_dump() == {**defaults, "listen": "127.0.0.1:9000"}


def test_every_line_that_init_comments_out_can_be_used_as_it_stands(tmp_path: Path) -> None:
    lines = settings_words.template("127.0.0.1:8443").splitlines()
    active = [line.removeprefix("# ") for line in lines if " = " in line and '= ""' not in line]
    write(tmp_path, "\n".join(line for line in active if line.split(" = ")[0].isidentifier()))

    assert settings.load(tmp_path).model_dump() == settings.load(tmp_path / "none").model_dump()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("max_steams = 3", "max_steams"),
        ("max_streams = 0", "max_streams"),
        ('listen = "localhost"', "listen"),
        ('nats_servers = ["nats://nats.example:4222"]', "nats_servers"),
        ('nats_servers = ["tls://nats.example/path"]', "nats_servers"),
        ('nats_servers = ["tls://a.example", "nats://127.0.0.1"]', "nats_servers"),
        ('listen = "127.0.0.1:70000"', "listen"),
        ('log_level = "loud"', "log_level"),
        ('tls_certificate = "a.pem"', "tls_key"),
        ('tls = "proxy"\nlisten = "0.0.0.0:80"', "loopback"),
        ("= 3", "is not toml"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path, text: str, named: str) -> None:
    write(tmp_path, text)

    with pytest.raises(SettingsError) as caught:
        settings.load(tmp_path)

    assert named in caught.value.message.lower()


def test_who_misspells_a_setting_is_told_which_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "max_steams = 3\n")
    with pytest.raises(SettingsError) as in_file:
        settings.load(tmp_path)
    monkeypatch.setenv("LIAISON_RELAY_MAX_STEAMS", "3")
    with pytest.raises(SettingsError) as in_environment:
        settings.load(tmp_path / "none")

    assert in_file.value.message == "no setting is called max_steams; did you mean max_streams?"
    assert in_environment.value.message.endswith("did you mean LIAISON_RELAY_MAX_STREAMS?")


def test_a_misspelt_variable_of_the_environment_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIAISON_RELAY_MAX_STEAMS", "3")

    with pytest.raises(SettingsError, match="LIAISON_RELAY_MAX_STEAMS"):
        settings.load(tmp_path)


def test_lists_and_tables_are_json_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 'hosts = ["a.example"]\n[witnesses]\n"a/1" = "https://a.example"')
    monkeypatch.setenv("LIAISON_RELAY_HOSTS", '["b.example", "c.example"]')
    monkeypatch.setenv("LIAISON_RELAY_WITNESSES", '{"b/1": "https://b.example"}')

    found = settings.load(tmp_path)

    assert found.hosts == ("b.example", "c.example")
    assert found.witnesses == {"b/1": "https://b.example"}


def test_a_variable_that_is_not_json_is_named_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIAISON_RELAY_NATS_SERVERS", "tls://u:hunter2@h:4222")

    with pytest.raises(SettingsError, match="LIAISON_RELAY_NATS_SERVERS") as caught:
        settings.load(tmp_path)

    assert "hunter2" not in str(caught.value)


def test_the_password_in_the_database_url_shows_in_no_repr_and_no_error(tmp_path: Path) -> None:
    write(tmp_path, 'database_url = "postgresql://u:hunter2@h/d"\nmax_streams = 0')

    with pytest.raises(SettingsError) as caught:
        settings.load(tmp_path)
    write(tmp_path, 'database_url = "postgresql://u:hunter2@h/d"')

    assert "hunter2" not in str(caught.value) + repr(settings.load(tmp_path))


@pytest.mark.parametrize(
    "text",
    ["http://a:1", "https://a/", "https://A:1", "a:8443", "https://", "https://a:8443/x", ""],
)
def test_an_origin_is_spelt_one_way(text: str) -> None:
    with pytest.raises(SettingsError):
        settings.check_origin(text)


@pytest.mark.parametrize(
    "text", ["https://relay.example", "https://127.0.0.1:1", "https://[::1]:1"]
)
def test_an_origin_is_scheme_host_and_port(text: str) -> None:
    assert settings.check_origin(text) == text


def test_the_operating_guide_has_the_table_of_settings() -> None:
    assert settings_words.table() in PAGE.read_text(), "write settings_words.table() into the page"
