"""Who changes things in a test."""

from service.core.audit.actor import Actor, ActorKind

SOMEBODY = Actor(ActorKind.API_KEY, "key_1", "192.0.2.1")
