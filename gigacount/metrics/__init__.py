"""How wrong: of numbers (`counting`), of heads within a radius (`localization`), of heads by score (`ranking`).

Results are dataclasses of plain numbers, tuples and strings, never NaN; None where a value is undefined.
"""
