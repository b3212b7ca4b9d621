"""The pages that an operator looks at: GET / and what it asks for."""
