"""One deployed stack for the whole tier."""

from tests.support.stack_fixtures import stack, whole_stack

__all__ = ["stack", "whole_stack"]
