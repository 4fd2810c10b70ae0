"""HTTP: routes and schemas, no logic."""
