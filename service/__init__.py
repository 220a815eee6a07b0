"""Posthorn tells a messaging platform's customers what became of their texts.

Events arrive from RabbitMQ (or ``POST /v1/events``), are matched with the REST-hook subscribers of their
organization, signed as Standard Webhooks and POSTed, with exponential retry. PostgreSQL records every attempt.
Start reading at ``flow/deliver.py``: one page that shows what happens to one delivery.
"""

__version__ = "0.1.0"
