"""The AWS emulator (ministack) with the gaps closed that a Step Functions application meets."""
