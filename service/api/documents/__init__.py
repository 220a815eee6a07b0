"""Documents made from what runs: OpenAPI from the operations' models, Postman from OpenAPI, AsyncAPI from the types."""
