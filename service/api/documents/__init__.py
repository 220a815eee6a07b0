"""Generated documents: OpenAPI from the operations, Postman from OpenAPI, AsyncAPI from the event types."""
