"""profiles: URLs and keys that only their owner can read, and where each key goes."""

import stat
from pathlib import Path

import pytest

from service.cli.remote.profiles import Profile, Profiles
from service.cli.remote.target import ApiOptions, ApiTarget, check_url
from service.cli.terminal import CommandError
from service.settings.environment import CLIENT_NAMES
from tests.cli.command import Finished, Run
from tests.cli.reach import Api

KEY = "ph_live_0001020304050607_" + "a" * 43
OTHER = "ph_live_1111020304050607_" + "b" * 43
URL = "https://posthorn.example"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (*CLIENT_NAMES, "DATABASE_URL", "DATABASE_URL_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


async def test_a_profile_is_checked_stored_for_its_owner_and_used(posthorn: Run, api: Api, tmp_path: Path) -> None:
    config = {"XDG_CONFIG_HOME": str(tmp_path / "config")}

    async def profiles(*words: str, stdin: str = "") -> Finished:
        done = await posthorn("profiles", *words, stdin=stdin.encode(), **config)
        assert api.key not in done.out + done.err
        return done

    added = await profiles("add", "here", "--api-url", api.url, stdin=f"{api.key}\n")
    assert (added.code, added.out) == (0, "")
    assert "Stored here: org_mine, admin, publish, read, write" in added.err
    file = tmp_path / "config/posthorn/profiles.toml"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent)] == [0o600, 0o700]
    twice = await profiles("add", "here", "--api-url", api.url, stdin=api.key)
    assert (twice.code, "--replace" in twice.err) == (2, True)
    replaced = await profiles("add", "here", "--api-url", f"{api.url}/v1/", "--replace", "--json", stdin=api.key)
    assert (replaced.json["api_url"], replaced.json["in_use"]) == (api.url, True)
    other = await profiles("add", "there", "--api-url", URL, "--no-check", "--key", KEY)
    assert other.code == 0
    listed = (await profiles("list", "--json")).json["data"]
    assert [(each["name"], each["in_use"]) for each in listed] == [("here", True), ("there", False)]
    assert (await profiles("use", "there")).code == 0
    assert (await profiles("use", "their")).code == 2
    assert (await profiles("remove", "there", "--json")).json == {"name": "there", "removed": True}
    assert [each["in_use"] for each in (await profiles("list", "--json")).json["data"]] == [False]


async def test_a_key_that_does_not_work_is_not_stored(posthorn: Run, api: Api, tmp_path: Path) -> None:
    for key, code, word in ((KEY, 1, "INVALID_API_KEY"), ("not-a-key", 2, "not an API key"), ("", 2, "not an API key")):
        done = await posthorn(
            "profiles", "add", "x", "--api-url", api.url, stdin=key.encode(), XDG_CONFIG_HOME=str(tmp_path)
        )
        assert (done.code, word in done.err) == (code, True), done.err
        assert key not in done.err or not key
    assert not (tmp_path / "posthorn").exists()


def test_a_file_that_others_can_read_is_refused(home: Path) -> None:
    Profiles({}).added("one", Profile(URL, KEY)).write()
    assert ApiOptions().required() == ApiTarget(URL, KEY, "the profile in use one")
    path = home / "posthorn/profiles.toml"
    path.chmod(0o640)
    with pytest.raises(CommandError, match=f"(?s)others can read it .mode 0640.*chmod 600 {path}"):
        ApiOptions().required()


@pytest.mark.parametrize("text", ["in_use = ", "[profiles]\none = 1", "[profiles.one]\napi_url = 'x'", "\udcff"])
def test_a_file_that_is_none_of_ours_is_told(home: Path, text: str) -> None:
    path = home / "posthorn/profiles.toml"
    path.parent.mkdir()
    path.write_bytes(text.encode(errors="surrogateescape"))
    path.chmod(0o600)
    with pytest.raises(CommandError, match="cannot be read as profiles"):
        Profiles.read()


def test_options_come_before_variables_and_those_before_the_profile_in_use(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CommandError, match="No API is named"):
        ApiOptions().required()
    assert ApiOptions().unless_beside_database() is None
    Profiles({}).added("one", Profile(URL, KEY)).added("two", Profile("https://two.example", OTHER)).write()
    in_use = ApiTarget(URL, KEY, "the profile in use one")
    assert ApiOptions().required() == ApiOptions().unless_beside_database() == in_use
    monkeypatch.setenv("DATABASE_URL", "postgresql://somewhere/posthorn")
    assert ApiOptions().unless_beside_database() is None
    assert ApiOptions().required() == in_use
    two = ApiTarget("https://two.example", OTHER, "--profile two")
    assert ApiOptions(profile="two").unless_beside_database() == two
    monkeypatch.setenv("POSTHORN_PROFILE", "two")
    assert ApiOptions().unless_beside_database() == ApiTarget(two.url, OTHER, "POSTHORN_PROFILE two")
    monkeypatch.setenv("POSTHORN_API_URL", "https://three.example/")
    with pytest.raises(CommandError, match="not both"):
        ApiOptions().required()
    monkeypatch.delenv("POSTHORN_PROFILE")
    monkeypatch.setenv("POSTHORN_API_KEY", OTHER)
    assert ApiOptions().required() == ApiTarget("https://three.example", OTHER, "POSTHORN_API_URL")
    assert ApiOptions(profile="one").required().key == KEY
    given = ApiOptions(url="https://four.example", key=KEY)
    assert given.unless_beside_database() == ApiTarget("https://four.example", KEY, "--api-url")
    assert KEY not in repr(given) + repr(given.required())


def test_a_key_without_its_url_goes_nowhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Profiles({}).added("one", Profile(URL, KEY)).write()
    monkeypatch.setenv("POSTHORN_API_KEY", OTHER)
    with pytest.raises(CommandError, match="without POSTHORN_API_URL"):
        ApiOptions().required()
    (home / "key").write_text(f"{OTHER}\n")
    monkeypatch.delenv("POSTHORN_API_KEY")
    monkeypatch.setenv("POSTHORN_API_KEY_FILE", str(home / "key"))
    monkeypatch.setenv("POSTHORN_API_URL", URL)
    assert ApiOptions().required().key == OTHER


@pytest.mark.parametrize(
    "url",
    [
        *("https://posthorn.example/base/", "http://localhost:8080", "http://127.0.0.1:8080", "http://[::1]:8080"),
        *("http://posthorn:8080", "http://10.1.2.3", "http://posthorn.default.svc.cluster.local"),
    ],
)
def test_a_url_that_a_key_may_be_sent_to(url: str) -> None:
    assert check_url(f" {url} ", "--api-url") == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        *("http://posthorn.example", "http://8.8.8.8", "http://134744072", "http://0x8080808", "ftp://localhost"),
        *("https://", "localhost:8080", "https://user:password@localhost", "https://localhost?x=1", "https://[", "x"),
    ],
)
def test_a_url_that_no_key_may_be_sent_to(url: str) -> None:
    with pytest.raises(CommandError, match="--api-url: must "):
        check_url(url, "--api-url")
