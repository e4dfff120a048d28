"""The one local address: what CloudFront is on AWS, with the guards a program on a developer's machine needs."""
