"""An organization's endpoints: creating, listing, changing, pausing and ending them. Nothing else writes them.

The core judges a wish before the transaction, against what was read then. The transaction locks the organization's
directory, which serialises its changes; if the directory has changed meanwhile, the wish is judged anew. So no lock
is held during a judgement, and what was judged is what is written.
"""

from service.adapters.postgres.endpoints.store.changing import Changing
from service.adapters.postgres.endpoints.store.creating import Creating
from service.adapters.postgres.endpoints.store.ending import Ending
from service.adapters.postgres.endpoints.store.reading import Reading
from service.adapters.postgres.endpoints.store.switching import Switching

__all__ = ["EndpointStore"]


class EndpointStore(Reading, Creating, Changing, Switching, Ending):
    """Implements ``EndpointDesk``. ``rules`` define which settings are allowed."""
