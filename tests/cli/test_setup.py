"""migrate and endpoints: what scripts rely on, and what people are told."""

import asyncpg

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


async def test_endpoints_are_added_listed_and_removed(posthorn: Run) -> None:
    await posthorn("keys", "create", "--organization", "org_a")
    added = await add(posthorn, "--json")
    assert (added.code, added.err) == (0, "")
    assert added.json.keys() == {"id", "url", "event_types", "secret"}
    assert added.json["event_types"] == ["message.sent", "link.clicked"]
    assert len(decode_secret(added.json["secret"])) == 32
    again = await add(posthorn, "--json")
    assert again.json == added.json | {"secret": None}
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
    assert "has no endpoint" in unknown.err


async def test_a_secret_of_ones_own_is_taken(posthorn: Run) -> None:
    await posthorn("keys", "create", "--organization", "org_a")
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert (await add(posthorn, "--secret", secret, "--json")).json["secret"] == secret
    refused = await add(posthorn, "--secret", "whsec_short", url="https://example.org/2")
    assert (refused.code, refused.out) == (2, "")
    assert "--secret: " in refused.err
    assert "short" not in refused.err


async def test_an_endpoint_that_cannot_be_is_refused_with_a_reason(posthorn: Run) -> None:
    unknown = await add(posthorn)
    assert unknown.code == 1
    assert "posthorn keys create --organization org_a" in unknown.err
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
    plain = await add(posthorn, url="http://example.org/hook", POSTHORN_ALLOW_HTTP="")
    assert plain.err == "--url: the URL must start with https://.\nPOSTHORN_ALLOW_HTTP=true allows http:// too.\n"
    for url in ("https://user:hunter2@example.org/hook", "example.org/hook"):
        wrong = await add(posthorn, url=url, POSTHORN_ALLOW_HTTP="")
        assert (wrong.code, wrong.out) == (2, "")
        assert "POSTHORN_" not in wrong.err
        assert "hunter2" not in wrong.err


async def test_without_a_database_url_one_is_told_how_to_set_it(
    commands: CommandServer, bare_environment: dict[str, str]
) -> None:
    for command in (["migrate"], ["deliveries", "list", "--json"], ["serve"]):
        told = await commands.run(bare_environment, *command)
        assert (told.code, told.out) == (2, "")
        assert "export DATABASE_URL=postgresql://" in told.err


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


async def test_a_schema_of_a_newer_release_is_told(posthorn: Run, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
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
