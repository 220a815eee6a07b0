"""``/docs``: the OpenAPI document as a page for people, with requests in six languages and an explorer."""
