"""The API as values: spec, conditions and reasons, labels. Depends on nothing else in the operator."""
