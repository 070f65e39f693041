"""From a TFModel to the complete objects that serve it: pure functions, equal inputs give equal objects."""
