"""The steps of an adaptation, which of them are recorded, and the time they need."""
