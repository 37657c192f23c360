"""All trainings of an adaptation: source, gates, protocols, teachers and repair."""
