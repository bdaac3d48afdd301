"""What is raced, a file each: `suite(shape, **options) -> Timed` for its suites.

Each is imported in a process of its own, and nowhere else.
"""
