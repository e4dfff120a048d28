"""The demo: real captioned photographs, trained in the sandbox, delivered and checked. See README.md."""
