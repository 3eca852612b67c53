"""What a request must satisfy before anything is decided about it."""
