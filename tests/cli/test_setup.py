"""migrate and endpoints: what scripts rely on, and what people are told."""

import json
import re
from pathlib import Path

import asyncpg
from sqlalchemy import make_url

from tests.cli.command import CommandServer, Finished, Run
from webhook_signature.sign import decode_secret


async def add(posthorn: Run, *options: str, url: str = "https://example.org/hook", **changes: str) -> Finished:
    types = () if "--event-types" in options else ("--event-types", "message.sent,link.clicked")
    given = ("--organization", "org_a", "--url", url, *types, *options)
    return await posthorn("endpoints", "add", *given, **changes)


async def test_migrating_twice_is_a_no_op(posthorn: Run) -> None:
    for _ in range(2):
        done = await posthorn("migrate")
        assert (done.code, done.out) == (0, "")


async def test_migrating_grants_the_services_role_what_it_needs(
    posthorn: Run, database_url: str, owner_database_url: str
) -> None:
    role = make_url(database_url).username
    assert role is not None
    done = await posthorn("migrate", "--grant-to", role, DATABASE_URL=owner_database_url)
    assert (done.code, done.out) == (0, "")
    assert f"The role {role} has what the service needs." in done.err
    assert (await posthorn("keys", "create", "--organization", "org_a")).code == 0
    unknown = await posthorn("migrate", "--grant-to", "nobody_of_this_name", DATABASE_URL=owner_database_url)
    assert (unknown.code, unknown.out) == (1, "")
    assert "there is no role 'nobody_of_this_name'; create it first" in unknown.err


async def test_endpoints_are_added_listed_and_removed(posthorn: Run) -> None:
    await posthorn("keys", "create", "--organization", "org_a")
    added = await add(posthorn, "--json")
    assert (added.code, added.err) == (0, "")
    assert added.json.keys() >= {"id", "url", "event_types", "secret", "public_key"}
    assert added.json["event_types"] == ["message.sent", "link.clicked"]
    assert len(decode_secret(added.json["secret"])) == 32
    again = await add(posthorn, "--json")
    assert (again.json["id"], again.json["secret"]) == (added.json["id"], None)
    more = await add(posthorn, "--event-types", "link.clicked,message.replied", "--json")
    assert more.json["event_types"] == ["message.sent", "link.clicked", "message.replied"]
    listed = await posthorn("endpoints", "list", "--organization", "org_a", "--json")
    assert [each["id"] for each in listed.json["data"]] == [added.json["id"]]
    assert listed.json["data"][0]["created_at"].endswith("Z")
    shown = await posthorn("endpoints", "list", "--organization", "org_a")
    assert added.json["id"] in shown.out
    remove = ("endpoints", "remove", added.json["id"], "--organization", "org_a", "--json")
    assert (await posthorn(*remove)).json == {"id": added.json["id"], "removed": True}
    assert (await posthorn(*remove)).json == {"id": added.json["id"], "removed": True}
    unknown = await posthorn("endpoints", "remove", "ep_unknown", "--organization", "org_a")
    assert (unknown.code, unknown.out) == (1, "")
    assert "No endpoint 'ep_unknown'" in unknown.err


async def test_an_endpoint_may_sign_with_a_pair_of_keys(posthorn: Run) -> None:
    await posthorn("keys", "create", "--organization", "org_a")
    added = await add(posthorn, "--signature-style", "ed25519", "--json")
    assert (added.json["secret"], added.json["public_key"][:5]) == (None, "whpk_")
    shown = await posthorn("endpoints", "show", added.json["id"], "--organization", "org_a", "--json")
    keys = [each["public_key"] for each in shown.json["secrets"]]
    assert (shown.json["signature_style"], keys) == ("ed25519", [added.json["public_key"]])
    told = await add(posthorn, "--signature-style", "ed25519", url="https://other.example/")
    assert "Give the public key to the receiver" in told.err
    own = ("--signature-style", "ed25519", "--secret", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
    refused = await add(posthorn, *own, url="https://third.example/")
    assert (refused.code, "secret: Posthorn makes the keys" in refused.err) == (2, True)


async def test_an_endpoint_that_waits_says_why(posthorn: Run, database_url: str) -> None:
    await posthorn("keys", "create", "--organization", "org_a")
    endpoint_id = (await add(posthorn, "--json")).json["id"]
    show = ("endpoints", "show", endpoint_id, "--organization", "org_a")
    assert (await posthorn(*show, "--json")).json["gates"] == []
    connection = await asyncpg.connect(database_url)
    await connection.execute("INSERT INTO gates VALUES ($1, 'retry_after', '2126-01-01')", endpoint_id)
    await connection.close()
    told = (await posthorn(*show)).out
    assert re.search(r"gates\.1\.reason +the receiver asked for a pause \(Retry-After\)\n", told)
    assert re.search(r"gates\.1\.until +2126-01-01", told)
    (gate,) = (await posthorn(*show, "--json")).json["gates"]
    assert (gate["kind"], gate["until"]) == ("retry_after", "2126-01-01T00:00:00.000000Z")
    assert "active (retry_after)" in (await posthorn("endpoints", "list", "--organization", "org_a")).out
    unknown = await posthorn("endpoints", "show", "ep_unknown", "--organization", "org_a")
    assert (unknown.code, unknown.out) == (1, "")
    assert "No endpoint 'ep_unknown'" in unknown.err


async def test_a_disabled_endpoint_is_resumed(posthorn: Run, database_url: str) -> None:
    await posthorn("keys", "create", "--organization", "org_a")
    endpoint_id = (await add(posthorn, "--json")).json["id"]
    resume = ("endpoints", "resume", endpoint_id, "--organization", "org_a")
    connection = await asyncpg.connect(database_url)
    await connection.execute("INSERT INTO gates VALUES ($1, 'disabled', 'infinity')", endpoint_id)
    await connection.close()
    assert "disabled" in (await posthorn("endpoints", "list", "--organization", "org_a")).out
    resumed = await posthorn(*resume)
    assert resumed.code == 0
    assert re.search("state +active\n", resumed.out)
    again = (await posthorn(*resume, "--json")).json
    assert (again["id"], again["gates"]) == (endpoint_id, [])
    unknown = await posthorn("endpoints", "resume", "ep_unknown", "--organization", "org_a")
    assert (unknown.code, unknown.out) == (1, "")
    assert "No endpoint 'ep_unknown'" in unknown.err


async def test_a_secret_of_ones_own_is_taken(posthorn: Run) -> None:
    await posthorn("keys", "create", "--organization", "org_a")
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert (await add(posthorn, "--secret", secret, "--json")).json["secret"] == secret
    refused = await add(posthorn, "--secret", "whsec_short", url="https://example.org/2")
    assert (refused.code, refused.out) == (2, "")
    assert "secret: " in refused.err
    assert "whsec_short" not in refused.err
    again = await add(posthorn, "--secret", secret)
    assert (again.code, "keeps its endpoint, its secret" in again.err) == (0, True)
    other = await add(posthorn, "--secret", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
    assert (other.code, other.out) == (1, "")


async def test_limits_are_taken_and_shown(posthorn: Run) -> None:
    await posthorn("keys", "create", "--organization", "org_a")
    refused = await add(posthorn, "--rate-limit-per-second", "0", "--max-in-flight", "0")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.count("rate_limit_per_second: must be 0.001 to 1000") == 1
    assert refused.err.count("max_in_flight: must be 1 to 1000") == 1
    assert (await add(posthorn, "--rate-limit-per-second", "30", "--max-in-flight", "1")).code == 0
    listed = await posthorn("endpoints", "list", "--organization", "org_a", "--json")
    (shown,) = listed.json["data"]
    assert (shown["rate_limit_per_second"], shown["max_in_flight"]) == (30, 1)
    again = await add(posthorn, "--max-in-flight", "5")
    assert "keeps its endpoint, its secret and its settings" in again.err


async def test_an_auth_is_read_from_a_file_and_shown_without_its_secret(posthorn: Run, tmp_path: Path) -> None:
    await posthorn("keys", "create", "--organization", "org_a")
    file = tmp_path / "auth.json"
    file.write_text("hunter2")
    refused = await add(posthorn, "--auth-file", str(file))
    assert (refused.code, "is not JSON" in refused.err, "hunter2" in refused.err) == (2, True, False)
    file.write_text(json.dumps({"type": "oauth2", "token_url": "https://10.0.0.1/", "client_id": "a"}))
    refused = await add(posthorn, "--auth-file", str(file))
    assert (refused.code, "auth.client_secret: is required" in refused.err) == (2, True)
    auth = {"type": "oauth2", "token_url": "https://auth.example.com/", "client_id": "a", "client_secret": "hunter2"}
    file.write_text(json.dumps(auth))
    assert (await add(posthorn, "--auth-file", str(file))).code == 0
    listed = await posthorn("endpoints", "list", "--organization", "org_a", "--json")
    (shown,) = listed.json["data"]
    assert {name: shown["auth"][name] for name in auth} == auth | {"client_secret": "***"}


async def test_order_is_taken_and_shown(posthorn: Run) -> None:
    await posthorn("keys", "create", "--organization", "org_a")
    refused = await add(posthorn, "--order-by", "data..id", "--order-wait-seconds", "0")
    assert (refused.code, refused.out) == (2, "")
    assert "order_by: a path must be keys joined by single dots, such as data.message.id" in refused.err
    assert "order_wait_seconds: must be 1 to 86400" in refused.err
    assert (await add(posthorn, "--order-by", "data.message.id", "--order-wait-seconds", "60")).code == 0
    listed = await posthorn("endpoints", "list", "--organization", "org_a", "--json")
    (shown,) = listed.json["data"]
    assert (shown["order_by"], shown["order_wait_seconds"]) == ("data.message.id", 60)


async def test_an_end_is_taken_and_shown(posthorn: Run) -> None:
    await posthorn("keys", "create", "--organization", "org_a")
    for given, why in (
        ("2001-01-01T00:00:00Z", "valid_until: must be in the future"),
        ("2999-01-31T12:00:00", "is not a time with an offset"),
        ("9999-12-31T23:59:59-12:00", "is not a time with an offset"),
    ):
        refused = await add(posthorn, "--valid-until", given)
        assert (refused.code, refused.out, why in refused.err) == (2, "", True), refused.err
    assert (await add(posthorn, "--valid-until", "2999-01-31T13:00:00+01:00")).code == 0
    listed = await posthorn("endpoints", "list", "--organization", "org_a", "--json")
    (shown,) = listed.json["data"]
    assert shown["valid_until"] == "2999-01-31T12:00:00.000000Z"


async def test_an_endpoint_that_cannot_be_is_refused_with_a_reason(posthorn: Run) -> None:
    unknown = await add(posthorn)
    assert unknown.code == 1
    assert "posthorn keys create --organization org_a" in unknown.err
    assert (await posthorn("keys", "create", "--organization", "org_a")).code == 0
    misspelt = await add(posthorn, "--event-types", "message.snt")
    assert misspelt.code == 2
    assert "did you mean 'message.sent'?" in misspelt.err
    private = await add(posthorn, url="https://10.0.0.1/hook")
    assert private.code == 2
    assert "this address is not allowed" in private.err
    assert "POSTHORN_EGRESS_ALLOW" in private.err
    unsealed = await add(posthorn, SECRET_KEYS="")
    assert unsealed.code == 2
    assert "openssl rand -base64 32" in unsealed.err


async def test_a_url_that_is_wrong_in_itself_is_refused_without_a_setting_that_would_not_help(posthorn: Run) -> None:
    await posthorn("keys", "create", "--organization", "org_a")
    plain = await add(posthorn, url="http://example.org/hook", POSTHORN_ALLOW_HTTP="")
    assert plain.err.endswith("  url: the URL must start with https://\nPOSTHORN_ALLOW_HTTP=true allows http:// too.\n")
    for url in ("https://user:hunter2@example.org/hook", "example.org/hook"):
        wrong = await add(posthorn, url=url, POSTHORN_ALLOW_HTTP="")
        assert (wrong.code, wrong.out) == (2, "")
        assert "POSTHORN_" not in wrong.err
        assert "hunter2" not in wrong.err


async def test_without_a_database_url_one_is_told_how_to_set_it(
    commands: CommandServer, bare_environment: dict[str, str]
) -> None:
    for command in (["migrate"], ["organizations", "list"], ["serve"]):
        told = await commands.run(bare_environment, *command)
        assert (told.code, told.out) == (2, "")
        assert "export DATABASE_URL=postgresql://" in told.err
    either = await commands.run(bare_environment, "deliveries", "list", "--json")
    assert (either.code, either.out) == (2, "")
    assert either.err.startswith("Neither an API nor a database is named.")


async def test_a_database_that_is_away_is_named_without_its_password(posthorn: Run) -> None:
    url = "postgresql://someone:hunter2@127.0.0.1:1/nowhere"
    for command in (
        ["migrate"],
        ["deliveries", "list", "--json"],
        ["keys", "create", "--organization", "o"],
        ["serve"],
    ):
        told = await posthorn(*command, DATABASE_URL=url)
        assert (told.code, told.out) == (1, "")
        assert "postgresql://someone:***@127.0.0.1:1/nowhere" in told.err
        assert "DATABASE_URL" in told.err
        assert "connection refused; start PostgreSQL" in told.err
        assert "hunter2" not in told.err


async def test_a_schema_that_is_not_there_points_to_migrate(posthorn: Run, postgres_server_url: str) -> None:
    for command in (["endpoints", "list", "--organization", "o"], ["deliveries", "list"], ["serve"]):
        told = await posthorn(*command, DATABASE_URL=postgres_server_url)
        assert told.code == 1
        assert "posthorn migrate" in told.err


async def test_a_schema_of_a_newer_release_is_told(posthorn: Run, owner_database_url: str) -> None:
    connection = await asyncpg.connect(owner_database_url)
    [head] = await connection.fetch("SELECT version_num FROM alembic_version")
    try:
        await connection.execute("UPDATE alembic_version SET version_num = '9999'")
        told = await posthorn("migrate")
    finally:
        await connection.execute("UPDATE alembic_version SET version_num = $1", head["version_num"])
        await connection.close()
    assert (told.code, told.out) == (1, "")
    assert told.err.endswith(" refused: its schema belongs to a newer release; run that release\n")


async def test_wrong_settings_are_all_told_by_name(posthorn: Run) -> None:
    told = await posthorn("config", "show", "--json", POSTHORN_HTTP_PRT="1", POSTHORN_OPS_PORT="abc")
    assert (told.code, told.out) == (2, "")
    assert "did you mean 'POSTHORN_HTTP_PORT'?" in told.err
    assert "POSTHORN_OPS_PORT: " in told.err


async def test_settings_are_shown_with_their_source_and_without_secrets(posthorn: Run) -> None:
    shown = await posthorn("config", "show", "--json", AMQP_URL="amqp://someone:hunter2@broker/")
    assert shown.json["AMQP_URL"] == {"value": "amqp://someone:***@broker/", "source": "environment"}
    assert shown.json["SECRET_KEYS"] == {"value": ["k1"], "source": "environment"}
    assert shown.json["POSTHORN_RETENTION_DAYS"]["source"] == "default"
    assert "hunter2" not in shown.out
    assert "a2tr" not in shown.out  # the key, in base64
    assert "POSTHORN_RETENTION_DAYS" in (await posthorn("config", "show")).out


async def test_help_names_the_exit_codes(commands: CommandServer, bare_environment: dict[str, str]) -> None:
    for command in ([], ["serve"], ["keys"], ["deliveries", "list"]):
        told = await commands.run(bare_environment, *command, "--help")
        assert told.code == 0
        assert "Exit codes" in told.out
    assert (await commands.run(bare_environment, "nonsense")).code == 2


async def test_what_would_pass_a_cap_is_refused(posthorn: Run) -> None:
    await posthorn("keys", "create", "--organization", "org_a")
    add = ("endpoints", "add", "--organization", "org_a", "--event-types", "message.sent,link.clicked")
    assert (await posthorn(*add, "--url", "https://a.example/")).code == 0
    for setting, what in (
        ("POSTHORN_MAX_ENDPOINTS", "1 endpoint"),
        ("POSTHORN_MAX_SUBSCRIPTIONS", "1 subscription"),
        ("POSTHORN_MAX_SECRETS", "1 secret"),
    ):
        refused = await posthorn(*add, "--url", "https://b.example/", **{setting: "1"})
        assert (refused.code, refused.out) == (1, "")
        assert f"n organization can have {what} at most: remove some" in refused.err
