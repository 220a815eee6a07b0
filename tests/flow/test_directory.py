"""The directory in memory, while others change it."""

from collections.abc import Collection, Sequence

from service.core.endpoints.directory import StoredDirectory
from service.flow.directory import Directory
from tests.fakes.secret_box import PlainSecretBox


class Interrupted:
    """A SubscriptionStore; something happens to the directory while it loads."""

    def __init__(self) -> None:
        self.directory: Directory | None = None
        self.loaded: list[set[str]] = []

    async def load(self, organization_ids: Collection[str]) -> Sequence[StoredDirectory]:
        self.loaded.append(set(organization_ids))
        if self.directory is not None:
            self.directory.forget(["a"])
        return [StoredDirectory(each, 1, ()) for each in organization_ids]


async def test_what_others_forget_meanwhile_is_still_answered() -> None:
    store = Interrupted()
    directory = Directory(store, PlainSecretBox())
    await directory.of({"a"})
    store.directory = directory
    assert set(await directory.of({"a", "b"})) == {"a", "b"}
    assert store.loaded == [{"a"}, {"b"}]


async def test_what_is_evicted_for_room_is_still_answered() -> None:
    directory = Directory(Interrupted(), PlainSecretBox(), organizations_max=2)
    await directory.of({"a", "b"})
    assert set(await directory.of({"a", "c"})) == {"a", "c"}
    assert set(await directory.of({"a", "b", "c", "d"})) == {"a", "b", "c", "d"}
