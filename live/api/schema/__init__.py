"""What the API takes and answers, as pydantic models, and the document that is made of them. Imported when it is asked for."""
