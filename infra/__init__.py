"""CloudFormation, the state machine, and the one program that deploys them to AWS and to the local emulator."""
